"""Polygons that intersect themselves or have no area, many at once."""

from __future__ import annotations

import numpy as np

CHUNK = 1 << 18  # pairs of sides that are compared at once
MAX_CORNERS = 2000  # of longer polygons, only pairs of sides whose boxes meet in x are compared
POLYGON_PROBLEMS = {
    "self_intersecting": "a polygon intersects itself",
    "degenerate_polygon": "a polygon has no area: its corners lie on one line",
}
FLAT = 1e-9  # largest height of a polygon without area, relative to its length


def polygon_problems(corners: np.ndarray, counts: np.ndarray) -> list[str]:
    """``self_intersecting``, ``degenerate_polygon`` or an empty text for each of N polygons.

    A polygon is degenerate if its corners lie on one line. It intersects itself if two sides cross at an inner point of
    both; corners that touch other sides, as in keyholes around a hole, are no crossing.

    Args:
        corners: float64 [P, 2], the corners of all polygons, one polygon after the other.
        counts: int64 [N], number of corners of each polygon, 3 or more.
    """
    found = [""] * len(counts)
    if not found:
        return found
    with np.errstate(over="ignore", invalid="ignore"):  # of coordinates that are too large to be drawn
        corners, counts = _without_repeats(corners, counts)
        is_star, is_thin = _stars(corners, counts)
        ends = counts.cumsum()
        suspects: dict[int, list[int]] = {}  # polygons by number of corners
        for i in np.flatnonzero(~is_star | is_thin).tolist():
            suspects.setdefault(int(counts[i]), []).append(i)
        for count, indices in suspects.items():
            size = max(1, CHUNK // count**2)
            for start in range(0, len(indices), size):
                chunk = np.array(indices[start : start + size])
                points = corners[(ends[chunk] - count)[:, None] + np.arange(count)]
                flat, star = _are_flat(points), is_star[chunk]
                crossing = ~flat & ~star
                if crossing.any():
                    crossing[crossing] = _self_crossing(points[crossing])
                for i in chunk[flat].tolist():
                    found[i] = "degenerate_polygon"
                for i in chunk[crossing].tolist():
                    found[i] = "self_intersecting"
    return found


def _without_repeats(corners: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The polygons without corners that the next corner repeats, as at the end of a closed polygon.

    A polygon of fewer than three different corners stays as it is.
    """
    ends = counts.cumsum()
    differs = (corners != _following(corners, ends, ends - counts)).any(1)
    if differs.all():
        return corners, counts
    kept = np.add.reduceat(differs, ends - counts, dtype=np.int64)
    differs |= np.repeat(kept < 3, counts)
    return corners[differs], np.where(kept < 3, counts, kept)


def _following(values: np.ndarray, ends: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The value [P, ...] at the next corner of the same polygon."""
    following = np.empty_like(values)
    following[:-1] = values[1:]
    following[ends - 1] = values[starts]
    return following


def _stars(corners: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bool [N] and [N]: which polygons are star-shaped around the mean of their corners, and which may have no area.

    A star cannot cross itself: seen from the mean, all sides turn the same way, and together once around. Most polygons of
    annotations are stars.
    """
    ends = counts.cumsum()
    starts = ends - counts
    x, y = (np.ascontiguousarray(corners[:, axis]) for axis in (0, 1))
    x -= np.repeat(np.add.reduceat(x, starts) / counts, counts)
    y -= np.repeat(np.add.reduceat(y, starts) / counts, counts)
    next_x, next_y = _following(x, ends, starts), _following(y, ends, starts)
    turns = x * next_y - next_x * y
    is_one_way = (np.minimum.reduceat(turns, starts) > 0) | (np.maximum.reduceat(turns, starts) < 0)
    # Each turn is less than half around, so that a side crosses y = 0 upwards once in each round.
    rounds = np.add.reduceat((y < 0) & (next_y >= 0), starts, dtype=np.int64)
    # An upper bound of the squared length, since no corner is farther from the mean than the root of this sum. Twice the
    # area of a flat polygon is at most counts * 3 * FLAT * max(squared length, 1).
    squared_length = 4 * np.add.reduceat(x * x + y * y, starts)
    is_thin = np.abs(np.add.reduceat(turns, starts)) <= counts * 10 * FLAT * np.maximum(squared_length, 1)
    return is_one_way & (rounds == 1), is_thin


def _are_flat(points: np.ndarray) -> np.ndarray:
    """Bool [B]: whether all corners of the polygons [B, K, 2] lie on one line."""
    spread = points - points[:, :1]
    farthest = np.abs(spread).sum(2).argmax(1)
    far = spread[np.arange(len(points)), farthest][:, None]
    height = np.abs(_cross(spread, far)).max(1)
    return np.asarray(height <= FLAT * np.maximum((far * far).sum((1, 2)), 1.0))


def _self_crossing(points: np.ndarray) -> np.ndarray:
    """Bool [B]: which polygons [B, K, 2] have two sides that cross."""
    if points.shape[1] > MAX_CORNERS:
        return np.array([_crosses_long(one) for one in points], bool)
    following = np.roll(points, -1, axis=1)
    first, second = np.triu_indices(points.shape[1], k=1)
    near = np.ones((len(points), len(first)), bool)
    for axis in (0, 1):
        low = np.minimum(points[:, :, axis], following[:, :, axis])
        high = np.maximum(points[:, :, axis], following[:, :, axis])
        near &= (low[:, first] < high[:, second]) & (low[:, second] < high[:, first])
    polygon, pair = near.nonzero()
    i, j = first[pair], second[pair]
    hits = _crossing(points[polygon, i], following[polygon, i], points[polygon, j], following[polygon, j])
    crossing = np.zeros(len(points), bool)
    crossing[polygon[hits]] = True
    return crossing


def _crossing(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Whether the sides a-b and c-d [..., 2] cross at an inner point of both."""
    ab, cd = b - a, d - c
    return (_cross(ab, c - a) * _cross(ab, d - a) < 0) & (_cross(cd, a - c) * _cross(cd, b - c) < 0)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """z of the cross product of vectors [..., 2]."""
    product: np.ndarray = u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
    return product


def _crosses_long(points: np.ndarray) -> bool:
    """Whether two sides of one long polygon [K, 2] cross; only sides that meet in x are compared."""
    following = np.roll(points, -1, axis=0)
    low, high = np.minimum(points[:, 0], following[:, 0]), np.maximum(points[:, 0], following[:, 0])
    order = np.argsort(low, kind="stable")
    ends = np.searchsorted(low[order], high[order], side="right")
    for position, first in enumerate(order.tolist()):
        others = order[position + 1 : ends[position]]
        if len(others) and _crossing(points[first], following[first], points[others], following[others]).any():
            return True
    return False
