"""Square windows around chosen pixels of a pyramid's maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# B images, L levels, S places, C channels, k the window's side.


def pixel_windows(maps: Sequence[Tensor], images: Tensor, pixels: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """What lies around some pixels, zeros outside the map. The gradient goes back to those pixels alone.

    Args:
        maps: [B, C, H_l, W_l] a level.
        images: [S] int64, the image of each place.
        pixels: [S] int64, its pixel: row-major in its level, the levels one after the other.
        radius: the window reaches so many pixels to each side; k is 2 * radius + 1.
    Returns:
        [S, C, k, k] values, and [S, 1, k, k] bool: which of the window's pixels lie inside the map.
    """
    device = pixels.device
    batch, channels = maps[0].shape[:2]
    sides = torch.tensor([m.shape[-2:] for m in maps], device=device)  # [L, 2]
    areas = sides.prod(1)
    ends = areas.cumsum(0)
    level = torch.bucketize(pixels, ends, right=True)  # [S]
    height, width = sides[level].unbind(1)
    place = pixels - (ends - areas)[level]
    step = torch.arange(-radius, radius + 1, device=device)
    row = (place // width)[:, None] + step  # [S, k]
    column = (place % width)[:, None] + step
    inside = ((row >= 0) & (row < height[:, None]))[:, :, None] & ((column >= 0) & (column < width[:, None]))[:, None]
    first = batch * (ends - areas)[level] + images * areas[level]
    number = first[:, None, None] + row[:, :, None] * width[:, None, None] + column[:, None]  # [S, k, k]
    # One table of all levels' pixels: choosing the rows of each level apart would make a GPU wait for their number.
    table = torch.cat([m.permute(0, 2, 3, 1).reshape(-1, channels) for m in maps])  # [sum of B * H_l * W_l, C]
    values = table[number.masked_fill(~inside, 0)] * inside[..., None].to(table.dtype)  # [S, k, k, C]
    return values.permute(0, 3, 1, 2), inside[:, None]
