"""Masks of ImageJ's regions of interest (ROI), by ImageJ's own rules.

=====================  ==============================================================================================
polygon, freehand,     pixels whose centre is inside, as in :mod:`segkit.structures.scanlines`
traced, rotated
rectangle, composite
rectangle              the pixels of its whole-numbered bounds; with rounded corners those whose centre is inside
oval, ellipse          pixels whose centre is inside or on the boundary
=====================  ==============================================================================================

ImageJ approximates a rotated ellipse by a polygon of many corners, so that single pixels at its boundary may differ.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from segkit.structures.scanlines import scan_ellipse, scan_outlines
from segkit.utils.errors import SegkitError

CURVE_STEPS = 16  # straight parts that a curve of a composite ROI is drawn with
MAX_POINTS = 2_000_000
MOVE, LINE, QUAD, CUBIC, CLOSE = range(5)  # segments of a Java path
POINTS_OF = {MOVE: 1, LINE: 1, QUAD: 2, CUBIC: 3, CLOSE: 0}
Point = tuple[float, float]
Runs = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass
class RoiShape:
    """The area of a ROI, before it is drawn.

    Attributes:
        outlines: float32 [K, 2] XY each, by the even-odd rule; empty for the other kinds.
        ellipse: centre, half axis and the ratio of the other half axis to it.
        rectangle: left, top, right, bottom, and the width and height of its rounded corners.
    """

    outlines: list[np.ndarray] = field(default_factory=list)
    ellipse: tuple[Point, Point, float] | None = None
    rectangle: tuple[int, int, int, int, float] | None = None

    def bounds(self) -> tuple[float, float, float, float]:
        """A region XYXY that the area cannot leave, with a pixel of margin for rounding."""
        if self.rectangle is not None:
            x0, y0, x1, y1 = (float(side) for side in self.rectangle[:4])
        elif self.ellipse is not None:
            (x, y), axis, ratio = self.ellipse
            radius = math.hypot(*axis) * max(1.0, abs(ratio))
            x0, y0, x1, y1 = x - radius, y - radius, x + radius, y + radius
        elif any(len(outline) for outline in self.outlines):
            points = np.concatenate(self.outlines).astype(np.float64)
            (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
        else:
            return 0.0, 0.0, 0.0, 0.0
        return x0 - 1, y0 - 1, x1 + 1, y1 + 1

    def runs(self, size: tuple[int, int]) -> Runs | None:
        """Row, first column and end column of its runs on an image of ``size``.

        Returns None if there are too many to draw.
        """
        if self.rectangle is not None:
            return _rectangle_runs(self.rectangle, size)
        if self.ellipse is not None:
            return scan_ellipse(*self.ellipse, size)
        return scan_outlines(self.outlines, size)


def shape_of(roi: Any, where: str) -> RoiShape | None:
    """The area of a ROI that roifile read.

    Returns None for lines, points, texts and others without area.

    Args:
        roi: an ``ImagejRoi``.
        where: the file, for messages.
    Raises:
        SegkitError: coordinates are missing or not finite.
    """
    from roifile import ROI_SUBTYPE, ROI_TYPE

    if roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.ARROW, ROI_SUBTYPE.IMAGE):
        return None
    box = (int(roi.left), int(roi.top), int(roi.right), int(roi.bottom))
    if roi.composite:
        if roi.multi_coordinates is None:
            raise SegkitError(f"{where}: a composite ROI without coordinates")
        return RoiShape([_finite(points, where) for points in path_outlines(roi.multi_coordinates.tolist(), where)])
    if roi.roitype == ROI_TYPE.RECT:
        return RoiShape(rectangle=(*box, max(0, int(roi.rounded_rect_arc_size))))
    if roi.roitype == ROI_TYPE.OVAL:
        half_width, half_height = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
        if half_width <= 0 or half_height <= 0:
            return RoiShape()
        center = (box[0] + half_width, box[1] + half_height)
        return RoiShape(ellipse=(center, (half_width, 0.0), half_height / half_width))
    if roi.roitype not in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED):
        return None
    if roi.roitype == ROI_TYPE.FREEHAND and roi.subtype in (ROI_SUBTYPE.ELLIPSE, ROI_SUBTYPE.ROTATED_RECT):
        return _rotated(roi, roi.subtype == ROI_SUBTYPE.ELLIPSE, where)
    if roi.integer_coordinates is None and roi.subpixel_coordinates is None:
        raise SegkitError(f"{where}: a polygon without coordinates")
    return RoiShape([_finite(np.asarray(roi.coordinates()), where)])


def path_outlines(values: Sequence[float], where: str) -> Iterator[np.ndarray]:
    """The closed outlines of a Java path, as ImageJ stores composite ROIs.

    Curves become straight parts.

    Args:
        values: the kind of each segment, followed by its points.
        where: the file, for messages.
    Raises:
        SegkitError: not a path.
    """
    points: list[Point] = []
    position = total = 0
    while position < len(values):
        kind = int(values[position]) if math.isfinite(values[position]) else -1
        count = POINTS_OF.get(kind)
        own = values[position + 1 : position + 1 + 2 * (count or 0)]
        if count is None or len(own) < 2 * count or (kind in (LINE, QUAD, CUBIC) and not points):
            raise SegkitError(f"{where}: the path of the composite ROI is damaged at value {position}")
        corners = list(zip(own[0::2], own[1::2], strict=True))
        if kind in (MOVE, CLOSE):
            if len(points) >= 3:
                yield np.array(points, np.float64)
            points = corners if kind == MOVE else points[:1]
        elif kind == LINE:
            points += corners
        else:
            points += _curve([points[-1], *corners])
        total += CURVE_STEPS if kind in (QUAD, CUBIC) else 1
        if total > MAX_POINTS:
            raise SegkitError(f"{where}: has more than {MAX_POINTS} points")
        position += 1 + 2 * count
    if len(points) >= 3:
        yield np.array(points, np.float64)


def _curve(control: Sequence[Point]) -> list[Point]:
    """Points on a Bézier curve, without the first one, by repeated interpolation."""
    t = np.linspace(0, 1, CURVE_STEPS + 1)[1:, None]
    levels = [np.broadcast_to(np.array(point), (CURVE_STEPS, 2)) for point in control]
    while len(levels) > 1:
        levels = [a + (b - a) * t for a, b in pairwise(levels)]
    return [(float(x), float(y)) for x, y in levels[0]]


def _rotated(roi: Any, is_ellipse: bool, where: str) -> RoiShape:
    """An ellipse or rectangle in any direction, from the ends of its axis and its ratio or width."""
    x1, y1, x2, y2 = (float(value) for value in (roi.x1, roi.y1, roi.x2, roi.y2))
    # The ratio, or the width, is a float in the bytes that an arrow uses for its style, head and corners.
    raw = struct.pack(
        f"{roi.byteorder}BBh",
        roi.arrow_style_or_aspect_ratio,
        roi.arrow_head_size,
        roi.rounded_rect_arc_size,
    )
    (value,) = struct.unpack(f"{roi.byteorder}f", raw)
    if not all(map(math.isfinite, (x1, y1, x2, y2, value))):
        raise SegkitError(f"{where}: coordinates are not finite")
    center, axis = ((x1 + x2) / 2, (y1 + y2) / 2), ((x2 - x1) / 2, (y2 - y1) / 2)
    if is_ellipse:
        return RoiShape(ellipse=(center, axis, value))
    length = math.hypot(*axis)
    if length == 0:
        return RoiShape()
    side = (-axis[1] / length * value / 2, axis[0] / length * value / 2)
    corners = [(x1 + side[0], y1 + side[1]), (x2 + side[0], y2 + side[1]), (x2 - side[0], y2 - side[1])]
    return RoiShape([np.array([*corners, (x1 - side[0], y1 - side[1])])])


def _rectangle_runs(rectangle: tuple[int, int, int, int, float], size: tuple[int, int]) -> Runs:
    left, top, right, bottom, arc = rectangle
    height, width = size
    rows = np.arange(max(top, 0), max(min(bottom, height), 0), dtype=np.int64)
    inset = np.zeros(len(rows))
    a, b = min(arc, right - left) / 2, min(arc, bottom - top) / 2
    if a > 0 and b > 0:
        # Distance of the row's centre from the straight part of the sides, as a part of the corner's height.
        beyond = np.maximum(np.maximum(top + b - (rows + 0.5), (rows + 0.5) - (bottom - b)), 0) / b
        inset = a * (1 - np.sqrt(np.maximum(1 - beyond**2, 0)))
    starts = np.clip(np.ceil(left + inset - 0.5), 0, width).astype(np.int64)
    ends = np.clip(np.floor(right - inset - 0.5) + 1, 0, width).astype(np.int64)
    if not arc:
        starts[:], ends[:] = np.clip(left, 0, width), np.clip(right, 0, width)
    filled = ends > starts
    return rows[filled], starts[filled], ends[filled]


def _finite(points: np.ndarray, where: str) -> np.ndarray:
    if not np.isfinite(points).all():
        raise SegkitError(f"{where}: coordinates are not finite")
    return points
