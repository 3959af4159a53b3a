"""Outlines of masks as short SVG paths, for pages that a browser draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segkit.structures.outline_polygons import Part
from segkit.structures.runs import ragged_arange

TOLERANCE = 0.8  # units by which a simplified outline may differ: more than the steps of a slanted edge


def svg_paths(objects: Sequence[Sequence[Part]], unit: float = 1, tolerance: float = TOLERANCE) -> list[str]:
    """The simplified outlines of masks as SVG paths, which are filled by the even-odd rule.

    Corners are rounded to whole units, and all but the first of a ring are relative to the one before. The path of an
    empty mask is empty.

    Args:
        objects: the parts of each mask, as of :func:`~segkit.structures.outline_polygons.mask_outlines`.
        unit: units for a pixel.
        tolerance: how far the path may be from a corner that it lacks, in units.
    """
    listed = [[ring for outer, holes in parts for ring in (outer, *holes)] for parts in objects]
    rings = simplify([np.asarray(ring, np.float64) * unit for own in listed for ring in own], tolerance)
    texts = iter([_ring_path(ring) for ring in rings])
    return ["".join(next(texts) for _ in own) for own in listed]


def _ring_path(ring: np.ndarray) -> str:
    points = np.rint(ring).astype(np.int64)
    steps = np.diff(points, axis=0)
    (x, y), moves = points[0].tolist(), steps[steps.any(axis=1)].tolist()
    text = f"M{x} {y}l{' '.join(f'{dx} {dy}' for dx, dy in moves)}z" if moves else ""
    return text.replace(" -", "-")


def simplify(rings: Sequence[np.ndarray], tolerance: float) -> list[np.ndarray]:
    """The corners of closed rings [K, 2] that are needed to stay within a tolerance of them.

    Source: Douglas and Peucker, Algorithms for the reduction of the number of points, 1973. Each ring is cut at its first
    corner and the one farthest from it. All lines of all rings are divided at once, level by level. Rings of less than
    five corners, and those of which less than three would remain, stay as they are.
    """
    long = [i for i, ring in enumerate(rings) if len(ring) >= 5]
    result = list(rings)
    if not long:
        return result
    closed = np.concatenate([np.concatenate([rings[i], rings[i][:1]]) for i in long])
    sizes = np.array([len(rings[i]) + 1 for i in long])
    ends = np.cumsum(sizes) - 1
    begins = ends - sizes + 1
    squares = ((closed - np.repeat(closed[begins], sizes, axis=0)) ** 2).sum(1)
    far = _first_largest(squares, np.arange(len(closed)), begins)
    kept = np.zeros(len(closed), bool)
    kept[begins] = kept[far] = kept[ends] = True
    first, last = np.concatenate([begins, far]), np.concatenate([far, ends])
    while True:
        between = last - first > 1
        first, last = first[between], last[between]
        if not len(first):
            break
        counts = last - first - 1
        points = np.repeat(first + 1, counts) + ragged_arange(counts)
        line, offsets = np.repeat(closed[last] - closed[first], counts, axis=0), closed[points]
        offsets = offsets - np.repeat(closed[first], counts, axis=0)
        length = np.hypot(line[:, 0], line[:, 1])
        across = np.abs(offsets[:, 0] * line[:, 1] - offsets[:, 1] * line[:, 0])
        away = np.hypot(offsets[:, 0], offsets[:, 1])
        distances = np.where(length > 0, across / np.where(length > 0, length, 1), away)
        starts = np.cumsum(counts) - counts
        middle = _first_largest(distances, points, starts)
        divided = np.maximum.reduceat(distances, starts) > tolerance
        first, middle, last = first[divided], middle[divided], last[divided]
        kept[middle] = True
        first, last = np.concatenate([first, middle]), np.concatenate([middle, last])
    for i, begin, end in zip(long, begins.tolist(), ends.tolist(), strict=True):
        chosen = closed[begin:end][kept[begin:end]]
        if len(chosen) > 2:
            result[i] = chosen
    return result


def _first_largest(values: np.ndarray, indices: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Of each stretch of ``values`` that begins at one of ``starts``, the index of its first largest value."""
    counts = np.diff(np.append(starts, len(values)))
    largest = np.repeat(np.maximum.reduceat(values, starts), counts)
    return np.minimum.reduceat(np.where(values == largest, indices, indices.max() + 1), starts)
