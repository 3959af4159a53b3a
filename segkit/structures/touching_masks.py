"""Finds the masks that touch each other, without comparing all pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import arrays
from segkit.structures.runs import ragged_arange

PAIRS_AT_ONCE = 1 << 21  # pairs of boxes that are in memory at a time


def touching_pairs(masks: InstanceMasks) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of masks that overlap, or have pixels side by side or corner to corner.

    Returns:
        Indices of the first and second mask of each pair, int64 [P] each, the first below the second, sorted.
    """
    crops, boxes = arrays(masks.bits, masks.crop_boxes), masks.crop_boxes.tolist()
    found = [
        pair
        for firsts, seconds in box_pairs(masks.crop_boxes.numpy())
        for pair in zip(firsts.tolist(), seconds.tolist(), strict=True)
        if _touch(crops[pair[0]], boxes[pair[0]], crops[pair[1]], boxes[pair[1]])
    ]
    pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def box_pairs(boxes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields pairs of non-empty boxes that overlap, or share an edge or a corner.

    Many pairs come in several parts.

    Boxes are sorted by their left side; each is compared with those that begin before it ends.

    Args:
        boxes: int64 [N, 4], x0, y0, x1, y1, exclusive.
    """
    chosen = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
    chosen = chosen[np.argsort(boxes[chosen, 0], kind="stable")]
    lefts, tops, rights, bottoms = boxes[chosen].T
    ends = np.searchsorted(lefts, rights, side="right")
    lengths = ends - np.arange(1, len(chosen) + 1)
    totals = np.cumsum(lengths)
    start = 0
    while start < len(chosen):
        done = int(totals[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(totals, done + PAIRS_AT_ONCE, side="right")))
        part = lengths[start:stop]
        firsts = np.repeat(np.arange(start, stop), part)
        seconds = firsts + 1 + ragged_arange(part)
        near = (tops[seconds] <= bottoms[firsts]) & (tops[firsts] <= bottoms[seconds])
        a, b = chosen[firsts[near]], chosen[seconds[near]]
        yield np.minimum(a, b), np.maximum(a, b)
        start = stop


def _touch(first: np.ndarray, first_box: list[int], second: np.ndarray, second_box: list[int]) -> bool:
    """Whether two crops touch, by the pixels of the second one beside the first one's box."""
    x0, y0 = max(first_box[0] - 1, second_box[0]), max(first_box[1] - 1, second_box[1])
    x1, y1 = min(first_box[2] + 1, second_box[2]), min(first_box[3] + 1, second_box[3])
    inner = second[y0 - second_box[1] : y1 - second_box[1], x0 - second_box[0] : x1 - second_box[0]]
    left, top = max(x0 - 1, first_box[0]), max(y0 - 1, first_box[1])
    right, bottom = min(x1 + 1, first_box[2]), min(y1 + 1, first_box[3])
    grown = np.zeros((y1 - y0 + 2, x1 - x0 + 2), np.uint8)
    part = first[top - first_box[1] : bottom - first_box[1], left - first_box[0] : right - first_box[0]]
    grown[top - y0 + 1 : bottom - y0 + 1, left - x0 + 1 : right - x0 + 1] = part
    columns = grown[:, :-2] | grown[:, 1:-1] | grown[:, 2:]
    return bool(((columns[:-2] | columns[1:-1] | columns[2:]) & inner).any())
