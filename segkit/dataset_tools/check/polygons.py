"""Polygons that intersect themselves or have no area, many at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CHUNK = 1 << 18  # pairs of sides that are compared at once
MAX_CORNERS = 2000  # of longer polygons, only pairs of sides whose boxes meet in x are compared


def polygon_problems(polygons: Sequence[Sequence[float] | np.ndarray]) -> list[str]:
    """``self_intersecting``, ``degenerate_polygon`` or an empty text for each polygon.

    A polygon is degenerate if its corners lie on one line. It intersects itself if two sides cross at an inner point of
    both; corners that touch other sides, as in keyholes around a hole, are no crossing.

    Args:
        polygons: each x0, y0, x1, y1, ..., at least three corners, finite.
    """
    found = [""] * len(polygons)
    by_length: dict[int, list[int]] = {}
    for i, polygon in enumerate(polygons):
        by_length.setdefault(len(polygon), []).append(i)
    for length, indices in by_length.items():
        size = max(1, CHUNK // max(length // 2, 1) ** 2)
        for start in range(0, len(indices), size):
            chunk = indices[start : start + size]
            points = np.array([polygons[i] for i in chunk], np.float64).reshape(len(chunk), -1, 2)
            with np.errstate(over="ignore", invalid="ignore"):  # of coordinates that are too large to be drawn
                problems = _problems(points)
            for i, problem in zip(chunk, problems, strict=True):
                found[i] = problem
    return found


def _problems(points: np.ndarray) -> list[str]:
    """The problem of each of the polygons [B, K, 2]."""
    flat = _is_flat(points)
    repeats = (points == np.roll(points, 1, axis=1)).all(2).any(1)
    found = np.where(flat, "degenerate_polygon", "").astype(object)
    if points.shape[1] <= MAX_CORNERS:
        regular = np.flatnonzero(~flat & ~repeats)
        found[regular[_self_crossing(points[regular])]] = "self_intersecting"
        irregular = np.flatnonzero(~flat & repeats)
    else:
        irregular = np.flatnonzero(~flat)
    for i in irregular.tolist():
        corners = points[i][(points[i] != np.roll(points[i], 1, axis=0)).any(1)]
        crosses = _crosses_long(corners) if len(corners) > MAX_CORNERS else bool(_self_crossing(corners[None])[0])
        found[i] = "self_intersecting" if crosses else ""
    return [str(problem) for problem in found]


def _is_flat(points: np.ndarray) -> np.ndarray:
    """Bool [B]: whether all corners of the polygons [B, K, 2] lie on one line."""
    spread = points - points[:, :1]
    farthest = np.abs(spread).sum(2).argmax(1)
    far = spread[np.arange(len(points)), farthest][:, None]
    height = np.abs(_cross(spread, far)).max(1)
    return np.asarray(height <= 1e-9 * np.maximum((far * far).sum((1, 2)), 1.0))


def _self_crossing(points: np.ndarray) -> np.ndarray:
    """Bool [B]: which polygons [B, K, 2] have two sides that cross."""
    following = np.roll(points, -1, axis=1)
    # Most polygons are star-shaped around the mean of their corners, and these cannot cross: seen from there, all sides
    # turn the same way, and together once around.
    center = points.mean(1, keepdims=True)
    u, v = points - center, following - center
    turns = _cross(u, v)
    angles = np.arctan2(turns, (u * v).sum(2)).sum(1)
    is_star = ((turns > 0).all(1) | (turns < 0).all(1)) & (np.abs(angles) < 3 * np.pi)
    crossing = np.zeros(len(points), bool)
    rest = np.flatnonzero(~is_star)
    if not len(rest):
        return crossing
    points, following = points[rest], following[rest]
    first, second = np.triu_indices(points.shape[1], k=1)
    near = np.ones((len(rest), len(first)), bool)
    for axis in (0, 1):
        low = np.minimum(points[:, :, axis], following[:, :, axis])
        high = np.maximum(points[:, :, axis], following[:, :, axis])
        near &= (low[:, first] < high[:, second]) & (low[:, second] < high[:, first])
    polygon, pair = near.nonzero()
    i, j = first[pair], second[pair]
    hits = _crossing(points[polygon, i], following[polygon, i], points[polygon, j], following[polygon, j])
    crossing[rest[polygon[hits]]] = True
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
