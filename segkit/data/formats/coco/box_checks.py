"""Finds boxes of a COCO JSON that are not XYWH in pixels, or not where the object is."""

from __future__ import annotations

import numpy as np

# Problems of objects that are kept, although their boxes make training or evaluation wrong.
UNIT_SQUARE = "objects with coordinates in 0..1"
UNIT_BOX = "objects with a box in 0..1, but a segmentation in pixels"
CORNERS = "objects with a box that looks like [x1, y1, x2, y2]"
BESIDE = "objects with polygons that begin outside of the object's box"
OUTSIDE = "objects with a box outside of their image"

TOLERANCE = 2  # pixels by which a polygon may leave its box, because annotation tools round
MIN_SHARE_REACHING_OUT = 0.25  # of the boxes must reach out of their images before they are taken for corners


def in_unit_square(coordinates: list[float]) -> bool:
    """Whether coordinates are shares of the image's sides instead of pixels.

    That is, all lie in 0..1, except for rounding, and one has a fraction: whole numbers in 0..1 are a pixel at the
    image's corner.
    """
    low, high = -0.01, 1.01
    if not (low <= coordinates[0] <= high and low <= coordinates[-1] <= high):  # usual, and faster than min and max
        return False
    return min(coordinates) >= low and max(coordinates) <= high and any(c % 1 for c in coordinates)


def box_problem(bbox: list[float], polygons: list[list[float]]) -> str | None:
    """Why a box does not fit the object's polygons: ``BESIDE``, ``CORNERS``, or None.

    Only a few points are checked.
    """
    x, y, width, height = bbox
    left, right, top, bottom = x - TOLERANCE, x + width + TOLERANCE, y - TOLERANCE, y + height + TOLERANCE
    polygons = [polygon for polygon in polygons if len(polygon) >= 6]
    if not all(left <= polygon[0] <= right and top <= polygon[1] <= bottom for polygon in polygons):
        return BESIDE
    if width > x and height > y and max(x, y) > TOLERANCE:  # true for few boxes, which saves the slower max below
        far = max(max(polygon[::2]) for polygon in polygons), max(max(polygon[1::2]) for polygon in polygons)
        if abs(far[0] - width) <= 1 and abs(far[1] - height) <= 1:
            return CORNERS
    return None


def outside(boxes: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """bool [N]: which boxes lie wholly outside of their image.

    Args:
        boxes: [N, 4] XYWH.
        sides: [N, 2], width and height of each box's image.
    """
    return ((boxes[:, :2] >= sides) | (boxes[:, :2] + boxes[:, 2:] <= 0)).any(1)


def are_corners(boxes: np.ndarray, sides: np.ndarray) -> bool:
    """Whether boxes are XYXY, not XYWH.

    That is, as XYWH many reach out of their images, and as XYXY nearly all lie inside.

    Args:
        boxes: [N, 4].
        sides: [N, 2], width and height of each box's image.
    """
    if len(boxes) == 0:
        return False
    reach_out = (boxes[:, :2] + boxes[:, 2:] > sides + 1).any(1)
    inside_as_xyxy = ((boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sides + 1)).all(1)
    return bool(reach_out.mean() >= MIN_SHARE_REACHING_OUT and inside_as_xyxy.mean() >= 0.95)
