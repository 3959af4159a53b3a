"""Resizes masks, within their boxes.

torchvision resizes dense masks [N, H, W]: decoding, flipping and resizing 250 masks of 1024 x 1024 takes 741 ms there and
6.7 ms here (``segkit benchmark data``, docs/benchmarks.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from segkit.structures.mask_sampling import BUDGET, threshold_windows
from segkit.structures.ragged import heights_widths, offsets_of
from segkit.structures.separable import gather_windows, hat, size_buckets, sum_taps


@dataclass
class Axis:
    """Bilinear resampling in one direction: hat functions around centres, divided by their sum.

    Attributes:
        centers: fp32 [new length], ascending, in old pixels (the centre of pixel i is i + 0.5).
        width: half the support of a hat, in old pixels.
        first: int64 [new length], the lowest old pixel with a weight; outside the image its weight is 0.
        weights: fp32 [new length, taps], of the old pixels from ``first`` on.
    """

    centers: Tensor
    width: float
    first: Tensor
    weights: Tensor

    def reached(self, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Range [low, high) of the new pixels that old pixels [first, last) contribute to."""
        low = torch.searchsorted(self.centers, (first + 0.5 - self.width).float(), right=True)
        high = torch.searchsorted(self.centers, (last - 0.5 + self.width).float())
        return low, high.maximum(low)

    def reaching(self, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Range [low, high) of the old pixels that contribute to new pixels [first, last)."""
        return self.first[first], self.first[last - 1] + self.weights.shape[1]

    def taps(self, new: Tensor, new_end: Tensor, length: int, old: Tensor, old_end: Tensor) -> tuple[Tensor, Tensor]:
        """Old pixels, counted from ``old``, and weights for new pixels: [n, length, taps] each.

        Row i is for the new pixels ``new[i]`` to ``new[i] + length``. Weights are 0 from ``new_end`` and ``old_end`` on.
        """
        pixels = new[:, None] + torch.arange(length)
        known = pixels.clamp(max=len(self.centers) - 1)
        index = (self.first[known] - old[:, None])[:, :, None] + torch.arange(self.weights.shape[1])
        inside = (index >= 0) & (index < (old_end - old)[:, None, None]) & (pixels < new_end[:, None])[:, :, None]
        return index, self.weights[known] * inside


def bilinear_axis(old: int, new: int, antialias: bool) -> Axis:
    """Resampling as ``F.interpolate(mode="bilinear", align_corners=False)`` computes it."""
    scale = old / new
    centers = scale * (torch.arange(new, dtype=torch.float) + 0.5)
    if not antialias or scale <= 1:
        # The weighted mean of two neighbours; at a border, the border pixel. Antialiased enlarging is the same.
        centers, width = centers.clamp(0.5, old - 0.5), 1.0
    else:
        width = scale
    first = (centers - width - 0.5).floor().long() + 1
    taps = first[:, None] + torch.arange(math.ceil(2 * width))
    weights = hat((taps + 0.5 - centers[:, None]) / width).masked_fill_((taps < 0) | (taps >= old), 0)
    return Axis(centers, width, first, weights / weights.sum(1, keepdim=True))


@torch.no_grad()
def resize_crops(
    bits: Tensor, crop_boxes: Tensor, image_size: tuple[int, int], size: tuple[int, int], antialias: bool
) -> tuple[Tensor, Tensor, int]:
    """Resized (bits, crop_boxes), and the number of rescued masks; see ``InstanceMasks``.

    Computed on the CPU, where transforms run, and moved back to the device of ``bits``.
    """
    if tuple(size) == tuple(image_size):
        return bits, crop_boxes, 0
    axes = [bilinear_axis(image_size[k], size[k], antialias) for k in (0, 1)]
    nonempty = crop_boxes[:, 2] > crop_boxes[:, 0]
    bounds = [axis.reached(crop_boxes[:, k], crop_boxes[:, k + 2]) for axis, k in zip(axes, (1, 0), strict=True)]
    (y0, y1), (x0, x1) = bounds
    windows = torch.stack([x0, y0, x1, y1], 1)
    windows[~nonempty | (x1 <= x0) | (y1 <= y0)] = 0
    scale = torch.tensor([size[1] / image_size[1], size[0] / image_size[0]])
    device, bits = bits.device, bits.cpu()

    def sample(tiles: Tensor, owners: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return _sample_tiles(bits, crop_boxes, axes, tiles, owners)

    def middles(objects: Tensor) -> Tensor:
        centres = (crop_boxes[objects, :2] + crop_boxes[objects, 2:]) / 2 * scale
        pixels = centres.long().minimum(torch.tensor(size[::-1]) - 1)
        return pixels.masked_fill(~nonempty[objects, None], -1)

    resized, tight, rescued = threshold_windows(windows, sample, middles)
    return resized.to(device), tight, rescued


def _sample_tiles(
    bits: Tensor, crop_boxes: Tensor, axes: list[Axis], tiles: Tensor, owners: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Interpolated values of groups of tiles; see ``mask_sampling.Sampler``."""
    crops = crop_boxes[owners]
    # The part of the crop that each tile needs.
    old = []
    for axis, k in zip(axes, (1, 0), strict=True):
        low, high = axis.reaching(tiles[:, k], tiles[:, k + 2])
        low = low.maximum(crops[:, k])
        old += [low, high.minimum(crops[:, k + 2]).maximum(low)]
    top, bottom, left, right = old
    strides = crops[:, 2] - crops[:, 0]
    starts = offsets_of(crop_boxes)[owners] + (top - crops[:, 1]) * strides + left - crops[:, 0]
    heights, widths = heights_widths(tiles)
    tall, wide = bottom - top, right - left
    seen = (tall > 0) & (wide > 0)
    for group in size_buckets(tall.maximum(heights) * seen, wide.maximum(widths) * seen, BUDGET):
        images = gather_windows(bits, starts[group], strides[group], tall[group], wide[group])
        x0, y0, x1, y1 = tiles[group].unbind(1)
        lengths = int(heights[group].max()), int(widths[group].max())
        rows = axes[0].taps(y0, y1, lengths[0], top[group], bottom[group])
        columns = axes[1].taps(x0, x1, lengths[1], left[group], right[group])
        yield group, sum_taps(images, rows, columns)
