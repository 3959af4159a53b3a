"""Pairs of an image's objects whose boxes meet, and the pixels that two masks share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from segkit.structures.runs import ragged_arange

MAX_PAIRS = 1 << 20  # that are compared at once
Corner = tuple[int, int]


def meeting_pairs(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of all pairs of boxes [N, 4] XYXY that overlap or are less than a pixel apart."""
    order = np.argsort(boxes[:, 0], kind="stable")
    left, right = boxes[order, 0], boxes[order, 2]
    ends = np.searchsorted(left, right + 1, side="left")  # the boxes that begin before this one ends
    found = [np.zeros((2, 0), np.int64)]
    for first, second in pairs_with_next(ends - np.arange(len(boxes)) - 1):
        first, second = order[first], order[second]
        apart = np.maximum(boxes[first, 1], boxes[second, 1]) - np.minimum(boxes[first, 3], boxes[second, 3])
        found.append(np.stack([first, second])[:, apart < 1])
    first, second = np.concatenate(found, 1)
    return first, second


def pairs_with_next(counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of each index i with the ``counts[i]`` indices after it, in parts.

    A part has at most ``MAX_PAIRS`` pairs, or the pairs of a single i.
    """
    counts = np.maximum(counts, 0)
    start = 0
    while start < len(counts):
        stop = start + max(1, int(np.searchsorted(counts[start:].cumsum(), MAX_PAIRS, side="right")))
        first = np.repeat(np.arange(start, stop), counts[start:stop])
        yield first, first + 1 + ragged_arange(counts[start:stop])
        start = stop


def shared_pixels(a: np.ndarray, a_corner: Corner, b: np.ndarray, b_corner: Corner) -> int:
    """Number of pixels that two masks share.

    Args:
        a: a mask's crop [h, w], bool, or uint8 of 0 and 1.
        a_corner: x and y of its first pixel in the image.
        b: the other crop, of the same dtype.
        b_corner: of its first pixel.
    """
    x, y = max(a_corner[0], b_corner[0]), max(a_corner[1], b_corner[1])
    a, b = (crop[y - top :, x - left :] for crop, (left, top) in ((a, a_corner), (b, b_corner)))
    height, width = min(len(a), len(b)), min(a.shape[1], b.shape[1])
    return int(np.count_nonzero(a[:height, :width] & b[:height, :width]))
