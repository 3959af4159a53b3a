"""Applies an affine map to masks, within their boxes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.structures.affine import inverse, move_hulls, move_points, sampling_grid
from segkit.structures.mask_sampling import BUDGET, threshold_windows
from segkit.structures.ragged import arrays, heights_widths, offsets_of
from segkit.structures.separable import gather_windows, size_buckets

# Interpolated values below this are rounding errors: an object outside the image must not come into view.
ROUNDING = 1e-3


@torch.no_grad()
def warp_crops(bits: Tensor, crop_boxes: Tensor, matrix: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, int]:
    """Mapped (bits, crop_boxes) on an image of ``size``, and the number of rescued masks.

    See ``InstanceMasks.affine``. Computed on the CPU, where transforms run, and moved back to the device of ``bits``.
    """
    back, device, bits = inverse(matrix), bits.device, bits.cpu()
    nonempty = crop_boxes[:, 2] > crop_boxes[:, 0]
    limit = torch.tensor([size[1], size[0]])
    # A pixel contributes to the new pixels whose centres are mapped to less than one pixel from its own centre.
    hulls = move_hulls(crop_boxes + torch.tensor([-0.5, -0.5, 0.5, 0.5]), matrix)
    low = (hulls[:, :2] - 0.5).floor().long().add(1).clamp(min=0)
    high = (hulls[:, 2:] - 0.5).ceil().long().minimum(limit)
    windows = torch.cat([low, high], 1)
    windows[~nonempty | (high <= low).any(1)] = 0

    def sample(tiles: Tensor, owners: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return _sample_tiles(bits, crop_boxes, back, tiles, owners)

    def middles(objects: Tensor) -> Tensor:
        return _visible_pixels(bits, crop_boxes, matrix, size, objects)

    warped, tight, rescued = threshold_windows(windows, sample, middles)
    return warped.to(device), tight, rescued


def _sample_tiles(
    bits: Tensor, crop_boxes: Tensor, back: Tensor, tiles: Tensor, owners: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Interpolated values of groups of tiles; see ``mask_sampling.Sampler``."""
    crops = crop_boxes[owners]
    # The part of the crop that contributes to each tile.
    reach = move_hulls(tiles + torch.tensor([0.5, 0.5, -0.5, -0.5]), back)
    low = (reach[:, :2] - 1.5).floor().long().add(1).maximum(crops[:, :2])
    high = (reach[:, 2:] + 0.5).ceil().long().minimum(crops[:, 2:]).maximum(low)
    wide, tall = (high - low).unbind(1)
    strides = crops[:, 2] - crops[:, 0]
    starts = offsets_of(crop_boxes)[owners] + (low[:, 1] - crops[:, 1]) * strides + low[:, 0] - crops[:, 0]
    heights, widths = heights_widths(tiles)
    seen = (tall > 0) & (wide > 0)
    for group in size_buckets(tall.maximum(heights) * seen, wide.maximum(widths) * seen, BUDGET):
        images = gather_windows(bits, starts[group], strides[group], tall[group], wide[group])
        size = int(heights[group].max()), int(widths[group].max())
        grid = sampling_grid(back, tiles[group, :2], size, low[group], (images.shape[1], images.shape[2]))
        values = F.grid_sample(images[:, None].float(), grid, mode="bilinear", align_corners=False)[:, 0]
        inside = (torch.arange(size[0]) < heights[group, None])[:, :, None]
        inside = inside & (torch.arange(size[1]) < widths[group, None])[:, None]
        yield group, values.masked_fill_(~inside | (values < ROUNDING), 0)


def _visible_pixels(bits: Tensor, crop_boxes: Tensor, matrix: Tensor, size: tuple[int, int], objects: Tensor) -> Tensor:
    """New pixel [K, 2] of each object's most central visible pixel; -1 if none is visible."""
    pixels = torch.full((len(objects), 2), -1)
    hulls = move_hulls(crop_boxes[objects], matrix)
    limit = torch.tensor([size[1], size[0]])
    near = (crop_boxes[objects, 2] > 0) & (hulls[:, 2:] > 0).all(1) & (hulls[:, :2] < limit).all(1)
    crops = arrays(bits, crop_boxes)
    for i in near.nonzero().squeeze(1).tolist():
        k = int(objects[i])
        centres = torch.from_numpy(crops[k]).nonzero().flip(1) + crop_boxes[k, :2] + 0.5
        moved = move_points(centres, matrix)
        moved = moved[((moved >= 0) & (moved < limit)).all(1)]
        if len(moved):
            pixels[i] = moved[(moved - moved.mean(0)).square().sum(1).argmin()].long()
    return pixels
