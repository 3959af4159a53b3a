"""Square windows around chosen pixels of a feature pyramid's maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Legend: B images, L levels, S chosen pixels, C channels, k the window's side.


def pixel_windows(maps: Sequence[Tensor], images: Tensor, pixels: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The windows around chosen pixels, zero outside the map.

    Only pixels in a window have a gradient.

    Args:
        maps: [B, C, H_l, W_l] for each level.
        images: int64 [S], index of the image of each chosen pixel.
        pixels: int64 [S], index of the pixel: row-major within its level, the levels one after the other.
        radius: number of pixels to each side; k is 2 * radius + 1.
    Returns:
        windows [S, C, k, k], and bool [S, 1, k, k]: which of a window's pixels lie inside the map.
    """
    device = pixels.device
    batch, channels = maps[0].shape[:2]
    sides = torch.tensor([m.shape[-2:] for m in maps], device=device)  # [L, 2]
    areas = sides.prod(1)
    ends = areas.cumsum(0)
    level = torch.bucketize(pixels, ends, right=True)  # [S]
    height, width = sides[level].unbind(1)
    pixel = pixels - (ends - areas)[level]  # index within the level
    step = torch.arange(-radius, radius + 1, device=device)
    row = (pixel // width)[:, None] + step  # [S, k]
    column = (pixel % width)[:, None] + step
    inside = ((row >= 0) & (row < height[:, None]))[:, :, None] & ((column >= 0) & (column < width[:, None]))[:, None]
    first = batch * (ends - areas)[level] + images * areas[level]
    index = first[:, None, None] + row[:, :, None] * width[:, None, None] + column[:, None]  # [S, k, k]
    # One table for all levels: selecting the rows of each level separately would synchronise with a GPU for their count.
    table = torch.cat([m.permute(0, 2, 3, 1).reshape(-1, channels) for m in maps])  # [sum of B * H_l * W_l, C]
    values = table[index.masked_fill(~inside, 0)] * inside[..., None].to(table.dtype)  # [S, k, k, C]
    return values.permute(0, 3, 1, 2), inside[:, None]
