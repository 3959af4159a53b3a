"""Precision at fixed recalls, as COCO's tools interpolate it."""

from __future__ import annotations

import numpy as np

COCO_IOUS = np.linspace(0.5, 0.95, 10)
IOU_50, IOU_75 = 0, 5  # positions of 0.5 and 0.75 in COCO_IOUS
RECALLS = np.linspace(0.0, 1.0, 101)


def interpolated_precision(true: np.ndarray, false: np.ndarray, objects: float) -> tuple[np.ndarray, float]:
    """Returns the precision at 101 recalls, and the highest recall that is reached.

    The precision at a recall is the largest one at this or a higher recall; 0 where no detection reaches the recall (Lin et
    al. 2014, Microsoft COCO; the code is equal to that of pycocotools' ``accumulate``).

    Args:
        true: bool or weights [N], true positives, ordered by falling score.
        false: the same of the false positives.
        objects: number, or weight, of the objects, above 0.
    Returns:
        float64 [101] and a number in 0..1.
    """
    precision = np.zeros(len(RECALLS))
    if not len(true):
        return precision, 0.0
    true, false = np.cumsum(true, dtype=np.float64), np.cumsum(false, dtype=np.float64)
    reached = true / objects
    falling = np.maximum.accumulate((true / (false + true + np.spacing(1)))[::-1])[::-1]
    positions = np.searchsorted(reached, RECALLS, side="left")
    valid = positions < len(falling)
    precision[valid] = falling[positions[valid]]
    return precision, float(reached[-1])
