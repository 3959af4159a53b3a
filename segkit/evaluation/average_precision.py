"""Average precision and recall from ranked detections, as COCO defines them."""

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
    return precisions_and_recalls(data, thresholds, area_range=area_range, matches=matches)[0].mean(axis=-1)


def precisions_and_recalls(
    data: DatasetOverlaps,
    thresholds: Sequence[float] | np.ndarray = COCO_IOUS,
    *,
    area_range: tuple[float, float] = ANY_AREA,
    matches: Sequence[Matches] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the interpolated precision at 101 recalls, and the highest recall.

    They are those of each IoU threshold and class, float64 [T, K, 101] and [T, K], NaN for a class without objects. The
    arguments are those of :func:`average_precisions`. The mean of the recalls over thresholds and classes is COCO's AR.
    """
    if matches is None:
        matches = [
            match_detections(image, thresholds, area_range=area_range, max_detections=data.max_detections)
            for image in data.images
        ]
    shape = (len(thresholds), len(data.classes))
    precision, recalls = np.full((*shape, len(RECALLS)), np.nan), np.full(shape, np.nan)
    if not data.images:
        return precision, recalls
    labels = np.concatenate([image.labels for image in data.images])
    scores = np.concatenate([image.scores for image in data.images])
    true = np.concatenate([one.true_positives for one in matches], axis=1)
    false = np.concatenate([one.false_positives for one in matches], axis=1)
    objects = np.concatenate(
        [image.object_labels[~one.ignored_objects] for image, one in zip(data.images, matches, strict=True)]
    )
    counts = np.bincount(objects, minlength=shape[1])
    order = np.lexsort((-scores, labels))  # stable: equal scores stay in the order of images and detections
    bounds = np.searchsorted(labels[order], np.arange(shape[1] + 1))
    for label in np.flatnonzero(counts[: shape[1]]).tolist():
        own = order[bounds[label] : bounds[label + 1]]
        for t in range(shape[0]):
            precision[t, label], recalls[t, label] = interpolated_precision(true[t, own], false[t, own], counts[label])
    return precision, recalls


def mean_ap(aps: np.ndarray) -> float | None:
    """Returns the mean of APs [T, K] that are not NaN; None if all are."""
    known = aps[~np.isnan(aps)]
    return float(known.mean()) if known.size else None
