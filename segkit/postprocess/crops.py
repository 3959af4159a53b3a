"""Pairs of masks that overlap, and many crops on one sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from segkit.structures.touching_masks import box_pairs

SHEET_PIXELS = 1 << 22


def neighbours(boxes: np.ndarray, which: Literal["earlier", "later"]) -> list[np.ndarray]:
    """The boxes that meet each box, those below or above it in index.

    Args:
        boxes: int64 [N, 4], x0, y0, x1, y1, exclusive.
        which: the indices below, or those above.
    Returns:
        int64 [K] for each box, ascending.
    """
    pairs = np.concatenate([np.zeros((2, 0), np.int64), *(np.stack(pair) for pair in box_pairs(boxes))], axis=1)
    others, own = pairs if which == "earlier" else pairs[::-1]
    order = np.lexsort((others, own))
    ends = np.searchsorted(own[order], np.arange(1, len(boxes)))
    return np.split(others[order], ends) if len(boxes) else []


class Sheet(NamedTuple):
    """Crops side by side on one array, each in a cell with a frame of one pixel.

    Attributes:
        objects: int64 [K], the index of the object in each cell, from left to right.
        lefts: int64 [K], first column of each cell.
        pixels: uint8 [H, W], 1 in the objects.
        cells: int32 [H, W], the cell of each pixel, from 1 on; 0 outside of all cells.
    """

    objects: np.ndarray
    lefts: np.ndarray
    pixels: np.ndarray
    cells: np.ndarray


def sheets(crops: Sequence[np.ndarray]) -> Iterator[Sheet]:
    """Yields the non-empty crops on sheets, those of about the same height together.

    Args:
        crops: uint8 [h, w] each.
    """
    heights, widths = np.array([crop.shape for crop in crops], np.int64).reshape(-1, 2).T + 2
    left = np.argsort(heights, kind="stable")
    left = left[(widths[left] > 2) & (heights[left] > 2)]
    while len(left):
        lowest = heights[left[0]]
        fits = heights[left] <= lowest * 3 // 2 + 8
        fits &= np.cumsum(widths[left]) * heights[left] <= SHEET_PIXELS
        count = max(1, int(np.argmin(fits)) if not fits.all() else len(left))
        yield _sheet(crops, left[:count], heights, widths)
        left = left[count:]


def _sheet(crops: Sequence[np.ndarray], objects: np.ndarray, heights: np.ndarray, widths: np.ndarray) -> Sheet:
    ends = np.cumsum(widths[objects])
    lefts = ends - widths[objects]
    pixels = np.zeros((int(heights[objects].max()), int(ends[-1])), np.uint8)
    cells = np.zeros(pixels.shape, np.int32)
    for cell, (i, x) in enumerate(zip(objects.tolist(), lefts.tolist(), strict=True)):
        height, width = crops[i].shape
        pixels[1 : height + 1, x + 1 : x + 1 + width] = crops[i]
        cells[: height + 2, x : x + width + 2] = cell + 1
    return Sheet(objects, lefts, pixels, cells)
