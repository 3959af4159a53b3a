"""The metrics of cells of many resamples of the images, from counts made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from segkit.evaluation.cell_counts import IOU_50, IOU_THRESHOLDS, CellCounts, count_cells, match_at
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps
from segkit.structures.score_thresholds import reaches

PREFIX = "cells"
IGNORED_SHARE = 0.5  # of a detection in regions where its class is not annotated


def cell_counts_by_image(data: DatasetOverlaps, score_threshold: float) -> list[dict[int, CellCounts]]:
    """Returns the counts of each image and label.

    They are those of :class:`~segkit.evaluation.cells.CellEvaluator`, with one difference: a detection that lies in several
    crowd or ignore regions is ignored if one of them, not all together, has more than half of it.

    Args:
        data: overlaps of masks.
        score_threshold: smallest score of a detection.
    """
    return [_count(image, score_threshold) for image in data.images]


def _count(image: ImageOverlaps, score_threshold: float) -> dict[int, CellCounts]:
    above = reaches(image.scores, score_threshold)
    found = {}
    for label in np.union1d(image.object_labels, image.labels[above]).tolist():
        own = above & (image.labels == label)
        overlaps = image.overlaps.select(image.object_labels == label, own)
        ignored = image.ignored_shares[own] > IGNORED_SHARE
        if ignored.any():
            ignored[overlaps.detections[match_at(overlaps, IOU_THRESHOLDS[IOU_50])]] = False
            overlaps = overlaps.select(np.ones(len(overlaps.object_areas), bool), ~ignored)
        found[label] = count_cells(overlaps)
    return found


def resampled_cells(
    counts: Sequence[Mapping[int, CellCounts]], classes: Sequence[str], resamples: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the metrics of cells of each resample: float64 [R] by name, as ``cells/PQ``.

    They are those of :class:`~segkit.evaluation.cells.CellEvaluator`; NaN where a resample has no object.

    Args:
        counts: of each of I images, by label.
        classes: name of each label; with several, there are metrics of each class.
        resamples: int [R, I], how many times each resample holds each image.
    """
    weights = resamples.astype(np.float64)
    images = [sum(image.values(), CellCounts()) for image in counts]
    total = _summed(images, weights)
    with np.errstate(divide="ignore", invalid="ignore"):
        metrics = {**_aps(_accuracies(total)), **_image_means(images, weights), **_pooled(total)}
        metrics |= {name: total[name] / total["objects"] for name in ("split", "merged", "missed")}
        metrics["spurious"] = _ratio(total["spurious"], total["detections"], 0.0)
        errors = np.array([abs(one.detections - one.objects) for one in images])
        metrics["count_error"] = _weighted(weights, errors) / total["objects"]
        for label, name in enumerate(classes if len(classes) > 1 else ()):
            of_class = _summed([image.get(label, CellCounts()) for image in counts], weights)
            values = {"AP@0.5": _accuracies(of_class)[:, IOU_50], **_pooled(of_class)}
            present = of_class["objects"] > 0
            metrics |= {f"{key}-{name}": np.where(present, values[key], np.nan) for key in ("AP@0.5", "F1", "PQ")}
        present = total["objects"] > 0
        return {f"{PREFIX}/{name}": np.where(present, values, np.nan) for name, values in metrics.items()}


def _summed(images: Sequence[CellCounts], weights: np.ndarray) -> dict[str, np.ndarray]:
    """The weighted sums of each field: [R], or [R, 10] of those with a value for each IoU threshold."""
    names = [one.name for one in fields(CellCounts)]
    sums = {}
    for name in names:
        shape = (len(images), *np.shape(getattr(CellCounts(), name)))
        sums[name] = _weighted(weights, np.array([getattr(one, name) for one in images]).reshape(shape))
    return sums


def _weighted(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted sums over images: [R, ...]; not BLAS, whose rounding depends on the machine's threads."""
    return np.einsum("ri,i...->r...", weights, values.astype(np.float64))


def _accuracies(counts: Mapping[str, np.ndarray]) -> np.ndarray:
    """TP / (TP + FP + FN) at each threshold, 1 without objects and detections: [R, 10]."""
    true = counts["true_positives"]
    either = (counts["objects"] + counts["detections"])[:, None] - true
    return _ratio(true, np.broadcast_to(either, true.shape), 1.0)


def _aps(values: np.ndarray) -> dict[str, np.ndarray]:
    aps = {f"AP@{IOU_THRESHOLDS[t]:g}": values[:, t] for t in (IOU_50, 5, 8)}
    return {**aps, "AP@0.5:0.95": values.mean(axis=1)}


def _image_means(images: Sequence[CellCounts], weights: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics that are means over images: APs and AJIs."""
    each = _summed(images, np.eye(len(images)))
    drawn = weights.sum(axis=1)
    means = _weighted(weights, _accuracies(each)) / drawn[:, None]
    ajis = {
        name: _weighted(weights, _ratio(each[f"{key}_intersection"], each[f"{key}_union"], 1.0)) / drawn
        for name, key in (("AJI", "aji"), ("AJI+", "aji_plus"))
    }
    return {**{f"image_{name}": values for name, values in _aps(means).items()}, **ajis}


def _pooled(counts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The metrics at IoU 0.5, and Dice, of summed counts."""
    true, ious = counts["true_positives"][:, IOU_50], counts["matched_ious"][:, IOU_50]
    f1 = 2 * true / (counts["objects"] + counts["detections"])
    quality = _ratio(ious, true, 0.0)
    dice = _ratio(counts["object_dice"], counts["object_area"], 0.0)
    return {
        "precision": _ratio(true, counts["detections"], 0.0),
        "recall": true / counts["objects"],
        "F1": f1,
        "SQ": quality,
        "PQ": quality * f1,
        "dice": (dice + _ratio(counts["detection_dice"], counts["detection_area"], 0.0)) / 2,
    }


def _ratio(part: np.ndarray, whole: np.ndarray, otherwise: float) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, otherwise), where=whole != 0)
