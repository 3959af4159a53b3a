"""Average precision from ranked detections, as COCO defines it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segkit.evaluation.greedy_matching import ANY_AREA, Matches, match_detections
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.evaluation.precision import COCO_IOUS, RECALLS, interpolated_precision


def average_precisions(
    data: DatasetOverlaps,
    thresholds: Sequence[float] | np.ndarray = COCO_IOUS,
    *,
    area_range: tuple[float, float] = ANY_AREA,
    matches: Sequence[Matches] | None = None,
) -> np.ndarray:
    """Returns the AP of each IoU threshold and class: float64 [T, K].

    It is NaN for a class without objects.

    Their mean over thresholds and classes, without NaN, is COCO's AP, equal to that of the COCO evaluator.

    Args:
        data: overlaps of all images.
        thresholds: T IoUs.
        area_range: smallest and largest area of the objects, in pixels.
        matches: of each image, if they are known: results of :func:`match_detections` with the same arguments.
    """
    return precision_at_recalls(data, thresholds, area_range=area_range, matches=matches).mean(axis=-1)


def precision_at_recalls(
    data: DatasetOverlaps,
    thresholds: Sequence[float] | np.ndarray = COCO_IOUS,
    *,
    area_range: tuple[float, float] = ANY_AREA,
    matches: Sequence[Matches] | None = None,
) -> np.ndarray:
    """Returns the interpolated precision at 101 recalls of each IoU threshold and class: float64 [T, K, 101].

    It is NaN for a class without objects. The arguments are those of :func:`average_precisions`.
    """
    if matches is None:
        matches = [
            match_detections(image, thresholds, area_range=area_range, max_detections=data.max_detections)
            for image in data.images
        ]
    result = np.full((len(thresholds), len(data.classes), len(RECALLS)), np.nan)
    if not data.images:
        return result
    labels = np.concatenate([image.labels for image in data.images])
    scores = np.concatenate([image.scores for image in data.images])
    true = np.concatenate([one.true_positives for one in matches], axis=1)
    false = np.concatenate([one.false_positives for one in matches], axis=1)
    objects = np.concatenate(
        [image.object_labels[~one.ignored_objects] for image, one in zip(data.images, matches, strict=True)]
    )
    for label in range(len(data.classes)):
        count = int((objects == label).sum())
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(-scores[own], kind="stable")]
        for t in range(len(thresholds)) if count else ():
            result[t, label] = interpolated_precision(true[t, own], false[t, own], count)[0]
    return result


def mean_ap(aps: np.ndarray) -> float | None:
    """Returns the mean of APs [T, K] that are not NaN; None if all are."""
    known = aps[~np.isnan(aps)]
    return float(known.mean()) if known.size else None
