"""Number of pixels in the convex hulls of masks, for all of them at once.

The hull is that of the middles of the pixels' edges, as in scikit-image's ``convex_hull_image``; a pixel belongs to it if its
centre lies in it or on its outline. Coordinates are doubled here, so that all of them are whole numbers and the result is
exact.
"""

from __future__ import annotations

import numpy as np


def convex_areas(profiles: np.ndarray, count: int) -> np.ndarray:
    """Number of pixels in the convex hull of each object: int64 [count]; 0 without a row.

    Args:
        profiles: int64 [4, R], of each row of an object that has pixels: the object, the row, and the first and last column
            with a pixel. Each object and row occur at most once.
        count: number of objects.
    """
    owners, rows, lefts, rights = profiles
    if not len(owners):
        return np.zeros(count, np.int64)
    order = np.lexsort((rows, owners))
    owners, rows, lefts, rights = owners[order], rows[order], lefts[order], rights[order]
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    members, tops, bottoms = owners[starts], rows[starts], rows[np.append(starts[1:], len(rows)) - 1]
    heights = bottoms - tops + 1
    # Every row between an object's first and last one, whether it has pixels or not.
    lines = np.arange(heights.sum()) - np.repeat(heights.cumsum() - heights - tops, heights)
    of_line = np.repeat(np.arange(len(members)), heights)
    compact = np.repeat(np.arange(len(members)), np.diff(np.append(starts, len(rows))))
    first = _first_inside(compact, rows, lefts, of_line, lines)
    last = -_first_inside(compact, rows, -rights, of_line, lines)
    areas = np.zeros(count, np.int64)
    areas[members] = np.add.reduceat(last - first + 1, heights.cumsum() - heights)
    return areas


def _first_inside(
    owners: np.ndarray, rows: np.ndarray, lefts: np.ndarray, of_line: np.ndarray, lines: np.ndarray
) -> np.ndarray:
    """The first column inside the hull, of each line of each object."""
    owners, ys, xs = _left_chain(owners, rows, lefts)
    stride = int(max(ys.max(), 2 * lines.max())) + 2 - int(ys.min())
    low = int(ys.min())
    # The segment of the chain around each line: from the last vertex at or above it to the next one.
    lower = np.searchsorted(owners * stride + ys - low, of_line * stride + 2 * lines - low, side="right") - 1
    upper = lower + 1
    height, run = ys[upper] - ys[lower], xs[upper] - xs[lower]
    return -((-(xs[lower] * height + run * (2 * lines - ys[lower]))) // (2 * height))


def _left_chain(owners: np.ndarray, rows: np.ndarray, lefts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Objects, Y and X of the vertices on the left of the hulls, from the top, in doubled coordinates."""
    owners = np.concatenate([owners, owners, owners])
    ys = np.concatenate([2 * rows - 1, 2 * rows, 2 * rows + 1])
    xs = np.concatenate([2 * lefts, 2 * lefts - 1, 2 * lefts])
    order = np.lexsort((xs, ys, owners))
    owners, ys, xs = owners[order], ys[order], xs[order]
    is_first = np.ones(len(owners), np.bool_)  # of one height, the one on the left
    is_first[1:] = (owners[1:] != owners[:-1]) | (ys[1:] != ys[:-1])
    owners, ys, xs = owners[is_first], ys[is_first], xs[is_first]
    while True:
        # A point on or to the right of the line between its neighbours is no vertex, whichever others remain.
        inside = np.zeros(len(owners), np.bool_)
        turn = (xs[1:-1] - xs[:-2]) * (ys[2:] - ys[:-2]) - (xs[2:] - xs[:-2]) * (ys[1:-1] - ys[:-2])
        inside[1:-1] = (owners[2:] == owners[:-2]) & (turn >= 0)
        if not inside.any():
            return owners, ys, xs
        owners, ys, xs = owners[~inside], ys[~inside], xs[~inside]
