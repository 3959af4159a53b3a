"""Outlines of masks as short SVG paths, for pages that a browser draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TOLERANCE = 0.8  # units by which a simplified outline may differ: more than the steps of a slanted edge


def svg_path(
    parts: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]], unit: float = 1, tolerance: float = TOLERANCE
) -> str:
    """The simplified rings of a mask as an SVG path, which is filled by the even-odd rule.

    Corners are rounded to whole units, and all but the first of a ring are relative to the one before.

    Args:
        parts: outer ring and holes of each part, as of :func:`~segkit.structures.outline_polygons.mask_outlines`.
        unit: units for a pixel.
        tolerance: how far the path may be from a corner that it lacks, in units.
    """
    texts = []
    for outer, holes in parts:
        for ring in (outer, *holes):
            points = np.rint(simplify(np.asarray(ring, np.float64) * unit, tolerance)).astype(np.int64)
            steps = np.diff(points, axis=0)
            (x, y), moves = points[0].tolist(), steps[steps.any(axis=1)].tolist()
            texts.append(f"M{x} {y}l{' '.join(f'{dx} {dy}' for dx, dy in moves)}z" if moves else "")
    return "".join(texts).replace(" -", "-")


def simplify(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """The corners of a closed ring [K, 2] that are needed to stay within a tolerance of it.

    Source: Douglas and Peucker, Algorithms for the reduction of the number of points, 1973. The ring is cut at its first
    corner and the one farthest from it.
    """
    if len(ring) < 5:
        return ring
    far = int(((ring - ring[0]) ** 2).sum(1).argmax())
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), bool)
    kept[[0, far, len(ring)]] = True
    waiting = [(0, far), (far, len(ring))]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        start, line = closed[first], closed[last] - closed[first]
        points = closed[first + 1 : last] - start
        length = float(np.hypot(*line))
        distances = abs(points[:, 0] * line[1] - points[:, 1] * line[0]) / length if length else np.hypot(*points.T)
        worst = int(distances.argmax())
        if distances[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            waiting += [(first, middle), (middle, last)]
    chosen = ring[kept[:-1]]
    return chosen if len(chosen) > 2 else ring
