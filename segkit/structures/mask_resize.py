"""Resizing masks in their boxes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from segkit.structures.ragged import heights_widths, offsets_of, split, tighten
from segkit.structures.separable import gather_windows, hat, resample, size_buckets

# Side of the tiles that large objects are resized in: beyond a tile's reach all weights are zero.
TILE = 64
# Pixels of tiles at a time: 4 MB as fp32.
BUDGET = 1 << 20
# A distance at which no hat has any weight.
FAR = 1e9


@dataclass
class Axis:
    """How pixels of one direction come from the old ones: hats of a width around centres, divided by their sum.

    Attributes:
        centers: fp32 [new length], ascending, in old pixels (the centre of pixel i is i + 0.5).
        width: half the support of a hat, in old pixels.
        sums: fp32 [new length], of the hat over all old pixels.
    """

    centers: Tensor
    width: float
    sums: Tensor

    def reached(self, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """The new pixels [low, high) that old pixels [first, last) have a share in."""
        low = torch.searchsorted(self.centers, (first + 0.5 - self.width).float(), right=True)
        high = torch.searchsorted(self.centers, (last - 0.5 + self.width).float())
        return low, high.maximum(low)

    def reaching(self, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Old pixels [low, high) that hold all those with a share in the new pixels [first, last) (not empty)."""
        low = (self.centers[first] - self.width - 0.5).floor().long()
        return low, (self.centers[last - 1] + self.width + 0.5).ceil().long()

    def weights(self, new: Tensor, new_end: Tensor, length: int, old: Tensor, old_end: Tensor, reach: int) -> Tensor:
        """[n, length, reach]: share of old pixel old[i] + b in new pixel new[i] + a; 0 beyond either end."""
        pixels = new[:, None] + torch.arange(length)
        known = pixels.clamp(max=len(self.centers) - 1)
        centers = self.centers[known].masked_fill_(pixels >= new_end[:, None], -FAR)
        places = old[:, None] + (torch.arange(reach) + 0.5)
        places = places.masked_fill_(places > old_end[:, None], FAR)
        distances = places[:, None] - centers[:, :, None]
        return hat(distances.div_(self.width)).div_(self.sums[known][:, :, None])


def bilinear_axis(old: int, new: int, antialias: bool) -> Axis:
    """As ``F.interpolate(mode="bilinear", align_corners=False)`` computes it."""
    scale = old / new
    centers = scale * (torch.arange(new, dtype=torch.float) + 0.5)
    if not antialias or scale <= 1:
        # Two neighbours' mean, at borders the one at hand. (Antialiased enlarging: the border's hat, normalised, is
        # the same.)
        return Axis(centers.clamp(0.5, old - 0.5), 1.0, torch.ones(new))
    taps = (centers - scale - 0.5).floor()[:, None] + torch.arange(int(2 * scale) + 4)
    hats = hat((taps + 0.5 - centers[:, None]) / scale)
    return Axis(centers, scale, hats.masked_fill((taps < 0) | (taps >= old), 0).sum(1))


@torch.no_grad()
def resize_crops(
    bits: Tensor, extents: Tensor, canvas: tuple[int, int], size: tuple[int, int], antialias: bool
) -> tuple[Tensor, Tensor, int]:
    """New (bits, extents) at ``size``, and how many masks were kept from becoming empty; see InstanceMasks.resize.

    Computed on the CPU, where transforms run, and moved back.
    """
    if tuple(size) == tuple(canvas):
        return bits, extents, 0
    device, bits = bits.device, bits.cpu()
    axes = [bilinear_axis(canvas[k], size[k], antialias) for k in (0, 1)]
    solid = extents[:, 2] > extents[:, 0]
    bounds = [axis.reached(extents[:, k], extents[:, k + 2]) for axis, k in zip(axes, (1, 0), strict=True)]
    (y0, y1), (x0, x1) = bounds
    windows = torch.stack([x0, y0, x1, y1], 1)
    windows[~solid | (x1 <= x0) | (y1 <= y0)] = 0
    resized = torch.zeros(int(offsets_of(windows)[-1]), dtype=torch.uint8)
    peaks, places = _resize_windows(bits, extents, windows, axes, resized)
    # Where nothing reaches 0.5 the largest pixel stays; where no sample even touches the object, the one at its centre.
    lost = (solid & (peaks < 0.5)).nonzero().squeeze(1)
    unseen = lost[peaks[lost] <= 0]
    middle = (extents[unseen, :2] + extents[unseen, 2:]) / 2 * torch.tensor([size[1] / canvas[1], size[0] / canvas[0]])
    seen = lost[peaks[lost] > 0]
    resized[places[seen]] = 1
    tight_bits, tight = tighten(resized, windows)
    if len(unseen):
        tight_bits, tight = _add_pixels(tight_bits, tight, unseen, middle.long().minimum(torch.tensor(size[::-1]) - 1))
    return tight_bits.to(device), tight, len(lost)


def _resize_windows(
    bits: Tensor, extents: Tensor, windows: Tensor, axes: list[Axis], resized: Tensor
) -> tuple[Tensor, Tensor]:
    """Fill ``resized``, the windows' flat crops; the largest value [N] of each object and its place in ``resized``."""
    tiles, owners = _tiles(windows)
    peaks, places = torch.zeros(len(extents)), torch.zeros(len(extents), dtype=torch.long)
    if not len(tiles):
        return peaks, places
    # The part of the crop that each tile needs.
    old = []
    for axis, k in zip(axes, (1, 0), strict=True):
        low, high = axis.reaching(tiles[:, k], tiles[:, k + 2])
        low = low.maximum(extents[owners, k])
        old += [low, high.minimum(extents[owners, k + 2]).maximum(low)]
    top, bottom, left, right = old
    _, strides = heights_widths(extents)
    starts = offsets_of(extents)[owners] + (top - extents[owners, 1]) * strides[owners] + left - extents[owners, 0]
    _, lengths = heights_widths(windows)
    outputs = offsets_of(windows)[owners] + (tiles[:, 1] - windows[owners, 1]) * lengths[owners]
    outputs += tiles[:, 0] - windows[owners, 0]
    tops, spots = torch.zeros(len(tiles)), torch.zeros(len(tiles), dtype=torch.long)
    heights, widths = heights_widths(tiles)
    crops, owner_of = split(resized.view(torch.bool), windows), owners.tolist()
    places_in_crop = (tiles - windows[owners][:, [0, 1, 0, 1]]).tolist()
    for group in size_buckets((bottom - top).maximum(heights), (right - left).maximum(widths), BUDGET):
        reach = int((bottom - top)[group].max()), int((right - left)[group].max())
        if 0 in reach:
            continue
        tall, wide = (bottom - top)[group], (right - left)[group]
        images = gather_windows(bits, starts[group], strides[owners[group]], tall, wide)
        length = int(heights[group].max()), int(widths[group].max())
        x0, y0, x1, y1 = tiles[group].unbind(1)
        rows = axes[0].weights(y0, y1, length[0], top[group], bottom[group], reach[0])
        columns = axes[1].weights(x0, x1, length[1], left[group], right[group], reach[1])
        values = resample(rows, images, columns)  # [n, *length]
        tops[group] = values.amax((1, 2))
        for i in (tops[group] < 0.5).nonzero().squeeze(1).tolist():
            number = group[i]
            best = int(values[i].argmax())
            spots[number] = outputs[number] + best // length[1] * lengths[owners[number]] + best % length[1]
        for i, number in enumerate(group.tolist()):
            x0, y0, x1, y1 = places_in_crop[number]
            torch.ge(values[i, : y1 - y0, : x1 - x0], 0.5, out=crops[owner_of[number]][y0:y1, x0:x1])
    peaks.scatter_reduce_(0, owners, tops, "amax")
    best_tiles = (tops == peaks[owners]).nonzero().squeeze(1)
    places[owners[best_tiles]] = spots[best_tiles]
    return peaks, places


def _tiles(windows: Tensor) -> tuple[Tensor, Tensor]:
    """The windows cut into tiles [T, 4], and the window [T] that each belongs to."""
    heights, widths = heights_widths(windows)
    down, across = -(-heights // TILE), -(-widths // TILE)
    owners = torch.repeat_interleave(torch.arange(len(windows)), down * across)
    first = (down * across).cumsum(0) - down * across
    number = torch.arange(len(owners)) - first[owners]
    low = torch.stack([number % across[owners], number // across[owners]], 1) * TILE + windows[owners, :2]
    return torch.cat([low, (low + TILE).minimum(windows[owners, 2:])], 1), owners


def _add_pixels(bits: Tensor, extents: Tensor, objects: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Give empty masks ``objects`` [K] one pixel each, at ``points`` [K, 2] (x, y)."""
    extents = extents.clone()
    extents[objects] = torch.cat([points, points + 1], 1)
    offsets = offsets_of(extents)
    known = torch.ones(int(offsets[-1]), dtype=torch.bool)
    known[offsets[objects]] = False
    result = torch.ones(len(known), dtype=torch.uint8)
    result[known] = bits
    return result, extents
