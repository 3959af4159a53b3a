"""Precision, recall, F1 and calibration by score, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segkit.evaluation.greedy_matching import Matches, match_detections
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps
from segkit.evaluation.threshold_metrics import check_metric, threshold_metric
from segkit.structures.score_thresholds import reaches
from segkit.utils.errors import SegkitError

ALL = "all"  # name of the curve of all classes together


@dataclass(frozen=True)
class ScoreCurve:
    """Precision, recall and F1 of the detections that score at least each of T thresholds.

    Attributes:
        name: the class, or ``all`` for all classes together.
        thresholds: float64 [T], falling: the distinct scores of the detections that count.
        precision: float64 [T], TP / (TP + FP).
        recall: float64 [T], TP / (TP + FN); 0 without objects.
        best_threshold: the one of the highest value of the chosen metric, the highest of several; None without objects or
            detections, or if no threshold has the metric (the recall or precision that it asks for is not reached).
        objects: number of objects.
        metric: the chosen metric, see
            :func:`~segkit.evaluation.threshold_metrics.threshold_metric`.
    """

    name: str
    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    best_threshold: float | None
    objects: int = 0
    metric: str = "F1"

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall: float64 [T]."""
        return threshold_metric("F1", self.precision, self.recall)

    @property
    def best_position(self) -> int | None:
        """Position of ``best_threshold`` in the arrays; None without it."""
        return None if self.best_threshold is None else int(np.argmax(self.thresholds == self.best_threshold))


@dataclass(frozen=True)
class Calibration:
    """How often detections of a score are right.

    Guo et al. 2017, On Calibration of Modern Neural Networks.

    Attributes:
        edges: float64 [B + 1] of the bins of scores, rising.
        counts: int64 [B], detections.
        scores: float64 [B], their mean score; NaN in an empty bin.
        precision: float64 [B], the share that is matched; NaN in an empty bin.
        error: expected calibration error, the mean of ``|scores - precision|`` weighted by ``counts``; NaN without
            detections.
    """

    edges: np.ndarray
    counts: np.ndarray
    scores: np.ndarray
    precision: np.ndarray
    error: float


@dataclass(frozen=True)
class ConfusionMatrix:
    """Counts of matched pairs by class; the last row and column are the background.

    Attributes:
        counts: int64 [K + 1, K + 1]; rows are the objects' classes, columns the detections'. The last column counts missed
            objects, the last row detections without an object.
        classes: K names.
        score_threshold: lowest score of a detection.
        iou_threshold: lowest IoU of a matched pair.
    """

    counts: np.ndarray
    classes: Sequence[str]
    score_threshold: float
    iou_threshold: float


def match_all(data: DatasetOverlaps, thresholds: Sequence[float] | np.ndarray) -> list[Matches]:
    """Matches each image's detections at T IoU thresholds, up to the model's limit."""
    return [match_detections(image, thresholds, max_detections=data.max_detections) for image in data.images]


def score_curves(
    data: DatasetOverlaps,
    iou_threshold: float = 0.5,
    metric: str = "F1",
    *,
    matches: Sequence[Matches] | None = None,
) -> list[ScoreCurve]:
    """Computes precision and recall at every score, of all classes together and of each.

    Greedy matching takes the detections in the order of their scores, and each one's match depends on those before it only.
    So the matches of the detections that score at least a threshold are, among all matches, the ones of these detections:
    one matching serves all thresholds. Detections of equal scores are below or above a threshold together. Ignored
    detections count neither way.

    Args:
        data: overlaps of all images.
        iou_threshold: lowest IoU of a matched pair.
        metric: by which the best threshold is chosen, see
            :func:`~segkit.evaluation.threshold_metrics.threshold_metric`.
        matches: results of :func:`match_all` at ``[iou_threshold]``, if they are known.
    Returns:
        The curve ``all``, which sums the counts of all classes, then one a class.
    Raises:
        SegkitError: an IoU out of range, or an unknown metric.
    """
    check_iou("iou_threshold", iou_threshold)
    check_metric(metric)
    labels, scores, true, false = _detections(data, iou_threshold, matches)
    objects = np.bincount(
        _joined([image.object_labels for image in data.images], np.int64), minlength=len(data.classes)
    )
    curves = [_curve(ALL, scores, true, false, int(objects.sum()), metric)]
    for label, name in enumerate(data.classes):
        own = labels == label
        curves.append(_curve(name, scores[own], true[own], false[own], int(objects[label]), metric))
    return curves


def check_iou(key: str, value: float) -> None:
    """Raises SegkitError unless an IoU threshold is a number above 0 and at most 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value <= 1:
        raise SegkitError(f"{key}: expected an IoU above 0 and at most 1, got {value!r}", key=key, value=value)


def check_bins(bins: int) -> None:
    """Raises SegkitError unless the number of bins is whole and at least 1."""
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise SegkitError(f"bins: expected a whole number, 1 or more, got {bins!r}", key="bins", value=bins)


def calibration(
    data: DatasetOverlaps,
    *,
    iou_threshold: float = 0.5,
    bins: int = 10,
    matches: Sequence[Matches] | None = None,
) -> Calibration:
    """Compares scores with the share of detections that are matched, in bins of equal width.

    The expected calibration error is ``sum(counts * |scores - precision|) / sum(counts)`` (Guo et al. 2017; of detections:
    Kueppers et al. 2020, Multivariate Confidence Calibration for Object Detection). Ignored detections count neither way.
    It depends on the lowest score that the model returns, since all detections have the same weight.

    Args:
        data: overlaps of all images.
        iou_threshold: lowest IoU of a matched pair.
        bins: B.
        matches: results of :func:`match_all` at ``[iou_threshold]``, if they are known.
    """
    check_iou("iou_threshold", iou_threshold)
    check_bins(bins)
    _, scores, true, false = _detections(data, iou_threshold, matches)
    counted = true | false
    scores, true = scores[counted], true[counted]
    position = np.minimum((scores * bins).astype(np.int64), bins - 1)  # a score of 1 is in the last bin
    counts = np.bincount(position, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = np.bincount(position, scores, bins) / counts
        shares = np.bincount(position, true, bins) / counts
    gaps = np.abs(means - shares)[counts > 0]
    error = float((gaps * counts[counts > 0]).sum() / counts.sum()) if len(scores) else float("nan")
    return Calibration(np.linspace(0, 1, bins + 1), counts, means, shares, error)


def confusion_matrix(data: DatasetOverlaps, score_threshold: float, iou_threshold: float = 0.5) -> ConfusionMatrix:
    """Counts which class is detected for the objects of each class.

    As in the matching for AP, each detection, in the order of the scores, takes the free object of the largest IoU; here the
    object may be of any class (of equal IoUs, one of its own class). An object found with another class is so a confusion,
    not a missed object and a false detection. hotcoco has the same rule. An unmatched detection that AP ignores does not
    count.

    Args:
        data: overlaps of all images.
        score_threshold: detections that score less do not count.
        iou_threshold: lowest IoU of a matched pair.
    """
    check_iou("iou_threshold", iou_threshold)
    size = len(data.classes) + 1
    counts = np.zeros((size, size), np.int64)
    for image in data.images:
        found = match_any_class(image, iou_threshold, score_threshold)
        matched = np.flatnonzero(found >= 0)
        np.add.at(counts, (image.object_labels[found[matched]], image.labels[matched]), 1)
        missed = np.ones(len(image.object_labels), bool)
        missed[found[matched]] = False
        counts[:, -1] += np.bincount(image.object_labels[missed], minlength=size)
        spurious = (found < 0) & reaches(image.scores, score_threshold) & (image.ignored_shares < iou_threshold)
        counts[-1] += np.bincount(image.labels[spurious], minlength=size)
    return ConfusionMatrix(counts, list(data.classes), float(score_threshold), float(iou_threshold))


def match_any_class(image: ImageOverlaps, iou_threshold: float, score_threshold: float = 0.0) -> np.ndarray:
    """Matches objects and detections of any class one to one, in the order of the scores.

    Returns:
        int64 [N], the object of each detection; -1 without one.
    """
    pairs = image.overlaps
    ious = pairs.ious
    other = image.object_labels[pairs.objects] != image.labels[pairs.detections]
    scores = image.scores[pairs.detections]
    near = np.flatnonzero((ious >= min(iou_threshold, 1 - 1e-10)) & reaches(scores, score_threshold))
    near = near[np.lexsort((-pairs.objects[near], other[near], -ious[near], pairs.detections[near], -scores[near]))]
    matched = np.full(len(image.scores), -1, np.int64)
    taken: set[int] = set()
    for o, d in zip(pairs.objects[near].tolist(), pairs.detections[near].tolist(), strict=True):
        if matched[d] < 0 and o not in taken:
            matched[d] = o
            taken.add(o)
    return matched


def _detections(
    data: DatasetOverlaps, iou_threshold: float, matches: Sequence[Matches] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores, and whether each is a true or a false positive, of the detections of all images."""
    matches = match_all(data, [iou_threshold]) if matches is None else matches
    return (
        _joined([image.labels for image in data.images], np.int64),
        _joined([image.scores for image in data.images], np.float64),
        _joined([one.true_positives[0] for one in matches], bool),
        _joined([one.false_positives[0] for one in matches], bool),
    )


def _curve(name: str, scores: np.ndarray, true: np.ndarray, false: np.ndarray, objects: int, metric: str) -> ScoreCurve:
    counted = true | false
    thresholds, position = np.unique(-scores[counted], return_inverse=True)
    found = np.cumsum(np.bincount(position, true[counted], len(thresholds)))
    wrong = np.cumsum(np.bincount(position, false[counted], len(thresholds)))
    precision, recall = found / (found + wrong), found / objects if objects else np.zeros(len(thresholds))
    best = None
    if objects:
        values = threshold_metric(metric, precision, recall)
        known = np.flatnonzero(~np.isnan(values))
        best = float(-thresholds[known[np.argmax(values[known])]]) if len(known) else None
    return ScoreCurve(name, -thresholds, precision, recall, best, objects, metric)


def _joined(arrays: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *arrays])
