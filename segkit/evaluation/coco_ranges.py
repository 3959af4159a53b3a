"""The IoU thresholds and ranges of areas that the COCO evaluator measures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from segkit.evaluation.coco_matching import COCO_AREAS, LARGEST_AREA, AreaRanges
from segkit.evaluation.precision import COCO_IOUS
from segkit.utils.errors import SegkitError


def named_ious(thresholds: Sequence[float] | None) -> tuple[np.ndarray, dict[str, int]]:
    """Returns the IoU thresholds of AP, ascending, and the positions of those that have a metric each.

    Args:
        thresholds: the evaluator's ``iou_thresholds``; None: COCO's ten, of which ``AP50`` and ``AP75`` are metrics.
    Returns:
        float64 [T], and the position of each metric's threshold by its name: ``AP30`` for 0.3.
    Raises:
        SegkitError: a threshold out of range or given twice, or none.
    """
    if thresholds is None:
        return COCO_IOUS, {"AP50": 0, "AP75": 5}
    if not thresholds or not all(0 < value <= 1 for value in thresholds) or len(set(thresholds)) != len(thresholds):
        raise SegkitError(
            f"iou_thresholds: expected different IoUs above 0 and at most 1, got {list(thresholds)}",
            key="iou_thresholds",
            value=thresholds,
        )
    ious = np.array(sorted(thresholds), np.float64)
    return ious, {f"AP{100 * iou:g}": position for position, iou in enumerate(ious.tolist())}


def named_areas(ranges: Mapping[str, Sequence[float]]) -> AreaRanges:
    """Returns COCO's ranges of areas and further ones.

    Args:
        ranges: the evaluator's ``area_ranges``: smallest and largest area in pixels, by name.
    Raises:
        SegkitError: a name or a range that is not valid, or a range that another name has.
    """
    areas = dict(COCO_AREAS)
    for name, limits in ranges.items():
        if name in COCO_AREAS or re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) is None:
            raise SegkitError(
                f"area_ranges: {name!r} is no name for a range; expected letters, digits and _, other than "
                f"{', '.join(COCO_AREAS)}",
                key="area_ranges",
                value=name,
            )
        if len(limits) != 2 or not 0 <= limits[0] < limits[1]:
            raise SegkitError(
                f"area_ranges: {name}: expected the smallest and the largest area in pixels, as [0, 256], got "
                f"{list(limits)}",
                key="area_ranges",
                value=limits,
            )
        low, high = float(limits[0]), min(float(limits[1]), LARGEST_AREA)
        if (twice := next((other for other, one in areas.items() if one == (low, high)), None)) is not None:
            raise SegkitError(f"area_ranges: {name} is the range of {twice}", key="area_ranges", value=limits)
        areas[name] = (low, high)
    return areas
