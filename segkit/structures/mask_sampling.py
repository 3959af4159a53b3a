"""Masks from sampled values: at least 0.5, in tight boxes, and never emptied by sampling alone.

Resizing and affine maps differ only in how they compute values. Both do it for tiles of the objects' new windows:
small objects are one tile each and go in stacks of similar size; a large one is cut, so that memory stays bounded and
what a tile cannot see costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from segkit.structures.ragged import heights_widths, pack, used_extents

# Side of the tiles that windows are cut into.
TILE = 64
# Pixels of a stack of tiles: 400 KB as fp32, and a few such are alive at a time. Smaller stacks cost more calls.
BUDGET = 3 << 15

# (tiles [T, 4], their objects [T]) -> groups of tiles (numbers [n]) with fp32 values [n, h, w], each tile's in the top
# left corner and 0 beyond it. Tiles that nothing reaches may be left out.
Sampler = Callable[[Tensor, Tensor], Iterator[tuple[Tensor, Tensor]]]


def threshold_windows(
    windows: Tensor, sampler: Sampler, middles: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, int]:
    """Masks of the values that are at least 0.5: (bits, crop_boxes) on the CPU, and how many were kept from being empty.

    Where no value of an object reaches 0.5 its largest pixel stays; where all are 0, as with a thin object between two
    samples, the pixel at its middle.

    Args:
        windows: int64 [N, 4], where an object's values may be above 0; of no area where nowhere.
        sampler: computes the values.
        middles: gives for objects [K] whose values are all 0 the pixel to keep, x, y [K, 2]; negative for none.
    """
    tiles, owners = cut_tiles(windows)
    tops, spots = torch.zeros(len(tiles)), torch.zeros(len(tiles), 2, dtype=torch.long)
    used = torch.zeros(len(tiles), 4, dtype=torch.long)
    stacks: list[np.ndarray] = []
    places: dict[int, tuple[int, int]] = {}  # of a tile: stack, number in it
    for group, values in sampler(tiles, owners):
        tops[group] = values.amax((1, 2))
        low = (tops[group] < 0.5).nonzero().squeeze(1)
        if len(low):
            best = values[low].flatten(1).argmax(1)
            spots[group[low]] = torch.stack([best % values.shape[2], best // values.shape[2]], 1)
        stack = (values >= 0.5).contiguous().view(torch.uint8)
        used[group] = used_extents(stack.amax(1), stack.amax(2))
        places.update({number: (len(stacks), i) for i, number in enumerate(group.tolist())})
        stacks.append(stack.numpy())
    crop_boxes = _joined(tiles, owners, used, len(windows))
    # What would be empty keeps a pixel.
    peaks = torch.zeros(len(windows)).scatter_reduce(0, owners, tops, "amax")
    best_tiles = ((tops == peaks[owners]) & (tops > 0)).nonzero().squeeze(1)
    pixels = torch.full((len(windows), 2), -1)
    pixels[owners[best_tiles]] = spots[best_tiles] + tiles[best_tiles, :2]
    unseen = (peaks == 0).nonzero().squeeze(1)
    pixels[unseen] = middles(unseen)
    kept = (crop_boxes[:, 2] == 0) & (pixels >= 0).all(1)
    crop_boxes = torch.where(kept[:, None], torch.cat([pixels, pixels + 1], 1), crop_boxes)
    pieces: list[list[int]] = [[] for _ in range(len(windows))]
    for number, owner in enumerate(owners.tolist()):
        pieces[owner].append(number)
    corners, one = tiles.tolist(), np.ones((1, 1), np.uint8)
    crops = []
    for numbers, window, pixel in zip(pieces, crop_boxes.tolist(), kept.tolist(), strict=True):
        parts = [(corners[k], stacks[places[k][0]][places[k][1]]) for k in numbers if k in places]
        crops.append(one if pixel else _assembled(window, parts))
    return pack(crops), crop_boxes, int(kept.sum())


def cut_tiles(windows: Tensor) -> tuple[Tensor, Tensor]:
    """The windows cut into tiles [T, 4], and the window [T] that each belongs to."""
    heights, widths = heights_widths(windows)
    down, across = -(-heights // TILE), -(-widths // TILE)
    owners = torch.repeat_interleave(torch.arange(len(windows)), down * across)
    first = (down * across).cumsum(0) - down * across
    number = torch.arange(len(owners)) - first[owners]
    low = torch.stack([number % across[owners], number // across[owners]], 1) * TILE + windows[owners, :2]
    return torch.cat([low, (low + TILE).minimum(windows[owners, 2:])], 1), owners


def _joined(tiles: Tensor, owners: Tensor, used: Tensor, count: int) -> Tensor:
    """Tight crop_boxes [count, 4] of objects, from what their tiles use (in the tile); zeros where nothing."""
    filled = (used[:, 2] > 0).nonzero().squeeze(1)
    places = used[filled] + tiles[filled][:, [0, 1, 0, 1]]
    slots = owners[filled, None].expand(-1, 2)
    empty = torch.zeros(count, 2, dtype=torch.long)
    low = empty.scatter_reduce(0, slots, places[:, :2], "amin", include_self=False)
    return torch.cat([low, empty.scatter_reduce(0, slots, places[:, 2:], "amax", include_self=False)], 1)


def _assembled(window: list[int], parts: list[tuple[list[int], np.ndarray]]) -> np.ndarray:
    """The pixels of a window, from its tiles: (x0, y0, x1, y1) and pixels from there on."""
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
