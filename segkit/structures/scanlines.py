"""Rasterises closed outlines and ellipses by pixel centres, as ImageJ does.

A pixel is set if its centre lies inside the outlines, by the even-odd rule: an outline within another one is a hole. A
centre exactly on a left boundary is outside, one exactly on a right boundary inside; on an upper boundary it is inside, on
a lower one outside. So areas that share a boundary neither overlap nor leave a gap. This is the rule of ImageJ's
``ij.process.PolygonFiller`` (in its comment); pycocotools, whose rule :mod:`segkit.structures.polygons` follows, sets
further pixels along slanted edges.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segkit.structures.runs import ragged_arange

# ImageJ moves outlines by this to the right, which decides about centres on a boundary in spite of rounding.
SHIFT = 1e-8
MAX_CROSSINGS = 20_000_000  # of outlines with rows of an image; about 1 GB


def scan_outlines(
    outlines: Sequence[np.ndarray], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The runs of one object from its outlines.

    Args:
        outlines: float [K, 2] XY each, finite, in continuous pixel coordinates; closed from the last point to the first.
        size: (H, W) of the image; what lies outside is cut.
    Returns:
        Row, first column and end column of each run, int64 [R]; None: the outlines cross more rows than can be drawn.
    """
    height, width = size
    parts = [points.astype(np.float64) for points in outlines if len(points) >= 2]
    if not parts:
        return _no_runs()
    begin = np.concatenate(parts)
    end = np.concatenate([np.roll(points, -1, axis=0) for points in parts])
    swap = begin[:, 1] > end[:, 1]
    upper, lower = np.where(swap[:, None], end, begin), np.where(swap[:, None], begin, end)
    # The first row whose centre is at or below the upper point, and the first one at or below the lower point.
    first = np.clip(np.ceil(upper[:, 1] - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(lower[:, 1] - 0.5), 0, height).astype(np.int64)
    lengths = last - first
    if lengths.sum() > MAX_CROSSINGS:
        return None
    edges = np.repeat(np.arange(len(lengths)), lengths)
    rows = np.repeat(first, lengths) + ragged_arange(lengths)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = (lower[:, 0] - upper[:, 0]) / (lower[:, 1] - upper[:, 1])
    crossings = upper[edges, 0] + (rows + 0.5 - upper[edges, 1]) * slopes[edges] + SHIFT
    columns = np.clip(np.floor(crossings + 0.5), 0, width).astype(np.int64)
    order = np.lexsort((crossings, rows))
    # Every closed outline crosses a row an even number of times, so that pairs of crossings enclose the runs.
    rows, columns = rows[order], columns[order]
    starts, ends = columns[0::2], columns[1::2]
    filled = ends > starts
    return rows[0::2][filled], starts[filled], ends[filled]


def scan_ellipse(
    center: tuple[float, float],
    axis: tuple[float, float],
    ratio: float,
    size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The runs of pixels whose centres lie in an ellipse or on its boundary.

    Args:
        center: x, y.
        axis: x, y of one half axis, as a vector.
        ratio: length of the other half axis, as a part of this one.
        size: (H, W) of the image.
    """
    height, width = size
    length = float(np.hypot(*axis))
    if length == 0 or ratio <= 0:
        return _no_runs()
    a, b = length, length * ratio
    cos, sin = axis[0] / length, axis[1] / length
    half_height = float(np.hypot(a * sin, b * cos))
    top = int(np.clip(np.floor(center[1] - half_height), 0, height))
    bottom = int(np.clip(np.ceil(center[1] + half_height), 0, height))
    rows = np.arange(top, bottom)
    y = rows + 0.5 - center[1]
    # (x cos + y sin)^2 / a^2 + (y cos - x sin)^2 / b^2 <= 1, as a quadratic inequality in x.
    p = cos**2 / a**2 + sin**2 / b**2
    q = y * cos * sin * (1 / a**2 - 1 / b**2)
    r = y**2 * (sin**2 / a**2 + cos**2 / b**2) - 1
    inside = q**2 - p * r
    rows, q, root = rows[inside >= 0], q[inside >= 0], np.sqrt(inside[inside >= 0])
    tolerance = 1e-9 * max(1.0, a, b)  # a centre on the boundary is inside, in spite of rounding
    starts = np.clip(np.ceil(center[0] + (-q - root) / p - 0.5 - tolerance), 0, width).astype(np.int64)
    ends = np.clip(np.floor(center[0] + (-q + root) / p - 0.5 + tolerance) + 1, 0, width).astype(np.int64)
    filled = ends > starts
    return rows[filled].astype(np.int64), starts[filled], ends[filled]


def _no_runs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
