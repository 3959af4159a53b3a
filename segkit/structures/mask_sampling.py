"""Thresholds interpolated masks; keeps one pixel of a mask that would become empty.

Resizing and affine maps differ only in how they interpolate. Both work on tiles of the objects' new windows: small
objects are one tile each and are stacked with others of similar size; a large object is cut into tiles, so that memory
is bounded and empty tiles cost nothing.

A mask is *rescued* if no value reaches 0.5, so that the threshold would have emptied it: it keeps one pixel. Rescued
masks are counted here; the count becomes ``Sample.rescued`` and a metric of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from segkit.structures.ragged import heights_widths, pack, used_boxes

# Side of the tiles that windows are cut into.
TILE = 64
# Pixels of a stack of tiles: 400 KB as fp32, of which a few are alive at a time. Smaller stacks cost more calls.
BUDGET = 3 << 15

# Takes tiles [T, 4] and their objects [T]; yields groups of tiles (indices [n]) with fp32 values [n, h, w], each tile's
# in the top left corner and 0 beyond it. Tiles without values above 0 may be skipped.
Sampler = Callable[[Tensor, Tensor], Iterator[tuple[Tensor, Tensor]]]


def threshold_windows(
    windows: Tensor, sampler: Sampler, middles: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, int]:
    """Masks of values of at least 0.5, (bits, crop_boxes) on the CPU; and how many were rescued.

    If no value of an object reaches 0.5, the pixel with the largest is kept. If all are 0, as for a thin object between
    two sampling points, the pixel at its middle is kept.

    Args:
        windows: int64 [N, 4], where an object's values may be above 0; without area if nowhere.
        sampler: computes the values.
        middles: returns, for objects [K] whose values are all 0, the pixel to keep, x, y [K, 2]; negative: none.
    """
    tiles, owners = cut_tiles(windows)
    peaks_of_tiles, peak_pixels = torch.zeros(len(tiles)), torch.zeros(len(tiles), 2, dtype=torch.long)
    used = torch.zeros(len(tiles), 4, dtype=torch.long)
    stacks: list[np.ndarray] = []
    position: dict[int, tuple[int, int]] = {}  # by tile: index of its stack, index within the stack
    for group, values in sampler(tiles, owners):
        peaks_of_tiles[group] = values.amax((1, 2))
        low = (peaks_of_tiles[group] < 0.5).nonzero().squeeze(1)
        if len(low):
            best = values[low].flatten(1).argmax(1)
            peak_pixels[group[low]] = torch.stack([best % values.shape[2], best // values.shape[2]], 1)
        stack = (values >= 0.5).contiguous().view(torch.uint8)
        used[group] = used_boxes(stack.amax(1), stack.amax(2))
        position.update({tile: (len(stacks), i) for i, tile in enumerate(group.tolist())})
        stacks.append(stack.numpy())
    crop_boxes = _boxes_of_objects(tiles, owners, used, len(windows))
    # Rescue masks that would be empty.
    peaks = torch.zeros(len(windows)).scatter_reduce(0, owners, peaks_of_tiles, "amax")
    best_tiles = ((peaks_of_tiles == peaks[owners]) & (peaks_of_tiles > 0)).nonzero().squeeze(1)
    pixels = torch.full((len(windows), 2), -1)
    pixels[owners[best_tiles]] = peak_pixels[best_tiles] + tiles[best_tiles, :2]
    all_zero = (peaks == 0).nonzero().squeeze(1)
    pixels[all_zero] = middles(all_zero)
    rescued = (crop_boxes[:, 2] == 0) & (pixels >= 0).all(1)
    crop_boxes = torch.where(rescued[:, None], torch.cat([pixels, pixels + 1], 1), crop_boxes)
    tiles_of: list[list[int]] = [[] for _ in range(len(windows))]
    for tile, owner in enumerate(owners.tolist()):
        tiles_of[owner].append(tile)
    corners, one = tiles.tolist(), np.ones((1, 1), np.uint8)
    crops = []
    for own, window, is_rescued in zip(tiles_of, crop_boxes.tolist(), rescued.tolist(), strict=True):
        parts = [(corners[k], stacks[position[k][0]][position[k][1]]) for k in own if k in position]
        crops.append(one if is_rescued else _assembled(window, parts))
    return pack(crops), crop_boxes, int(rescued.sum())


def cut_tiles(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Cuts windows into tiles [T, 4]; also returns the index [T] of each tile's window."""
    heights, widths = heights_widths(windows)
    down, across = -(-heights // TILE), -(-widths // TILE)
    owners = torch.repeat_interleave(torch.arange(len(windows)), down * across)
    first = (down * across).cumsum(0) - down * across
    index = torch.arange(len(owners)) - first[owners]
    low = torch.stack([index % across[owners], index // across[owners]], 1) * TILE + windows[owners, :2]
    return torch.cat([low, (low + TILE).minimum(windows[owners, 2:])], 1), owners


def _boxes_of_objects(tiles: Tensor, owners: Tensor, used: Tensor, count: int) -> Tensor:
    """Tight crop boxes [count, 4] of objects from the used boxes within their tiles."""
    filled = (used[:, 2] > 0).nonzero().squeeze(1)
    boxes = used[filled] + tiles[filled][:, [0, 1, 0, 1]]
    slots = owners[filled, None].expand(-1, 2)
    empty = torch.zeros(count, 2, dtype=torch.long)
    low = empty.scatter_reduce(0, slots, boxes[:, :2], "amin", include_self=False)
    return torch.cat([low, empty.scatter_reduce(0, slots, boxes[:, 2:], "amax", include_self=False)], 1)


def _assembled(window: list[int], parts: list[tuple[list[int], np.ndarray]]) -> np.ndarray:
    """The pixels of a window from its tiles, each with its box (x0, y0, x1, y1) and pixels."""
    x0, y0, x1, y1 = window
    if len(parts) == 1:
        (left, top, _, _), pixels = parts[0]
        return pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    crop = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for (left, top, right, bottom), pixels in parts:
        a, b, c, d = max(left, x0), max(top, y0), min(right, x1), min(bottom, y1)
        if a < c and b < d:
            crop[b - y0 : d - y0, a - x0 : c - x0] = pixels[b - top : d - top, a - left : c - left]
    return crop
