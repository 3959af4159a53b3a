"""Boxes of a COCO JSON that are in another unit or form than [x, y, width, height] in pixels, or at another place."""

from __future__ import annotations

import numpy as np

# Kinds of objects that are kept and that training or evaluation gets wrong.
UNIT_SQUARE = "objects with coordinates in 0..1"
UNIT_BOX = "objects with a box in 0..1, but a segmentation in pixels"
CORNERS = "objects with a box that looks like [x1, y1, x2, y2]"
BESIDE = "objects with polygons that begin outside of the object's box"
OUTSIDE = "objects with a box outside of their image"

TOLERANCE = 2  # pixels by which a polygon may leave its box: tools round
REACHING_OUT = 0.25  # share of the boxes that reach out of the image, from which on they may be corners


def in_unit_square(numbers: list[float]) -> bool:
    """Whether all lie in 0..1, but for rounding, and one has a fraction: shares of the image's sides, not pixels.

    Whole numbers alone are a pixel at the image's corner.
    """
    low, high = -0.01, 1.01
    if not (low <= numbers[0] <= high and low <= numbers[-1] <= high):  # nearly always: min and max take longer
        return False
    return min(numbers) >= low and max(numbers) <= high and any(number % 1 for number in numbers)


def box_problem(bbox: list[float], polygons: list[list[float]]) -> str | None:
    """Why a box does not belong to the polygons beside it: ``BESIDE``, ``CORNERS``, or None. Costs little."""
    x, y, width, height = bbox
    left, right, top, bottom = x - TOLERANCE, x + width + TOLERANCE, y - TOLERANCE, y + height + TOLERANCE
    polygons = [polygon for polygon in polygons if len(polygon) >= 6]
    if not all(left <= polygon[0] <= right and top <= polygon[1] <= bottom for polygon in polygons):
        return BESIDE
    if width > x and height > y and max(x, y) > TOLERANCE:  # as few boxes are, for max takes longer
        far = max(max(polygon[::2]) for polygon in polygons), max(max(polygon[1::2]) for polygon in polygons)
        if abs(far[0] - width) <= 1 and abs(far[1] - height) <= 1:
            return CORNERS
    return None


def outside(boxes: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """[N] bool: boxes [N, 4] XYWH that have no part in their image; ``sides`` [N, 2] are its width and height."""
    return ((boxes[:, :2] >= sides) | (boxes[:, :2] + boxes[:, 2:] <= 0)).any(1)


def are_corners(boxes: np.ndarray, sides: np.ndarray) -> bool:
    """Whether boxes [N, 4] are XYXY: as XYWH many reach out of their images, as XYXY (nearly) all lie inside."""
    if len(boxes) == 0:
        return False
    reach_out = (boxes[:, :2] + boxes[:, 2:] > sides + 1).any(1)
    inside = ((boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sides + 1)).all(1)
    return bool(reach_out.mean() >= REACHING_OUT and inside.mean() >= 0.95)
