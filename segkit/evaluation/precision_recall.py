"""The evaluator of precision, recall and F1 by score, with the best score thresholds."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segkit.evaluation.average_precision import precision_at_recalls
from segkit.evaluation.coco_matching import IouType
from segkit.evaluation.greedy_matching import Matches, match_detections
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.evaluation.overlap_evaluator import OverlapEvaluator
from segkit.evaluation.precision import COCO_IOUS, RECALLS
from segkit.evaluation.results import write_json
from segkit.evaluation.score_curves import (
    Calibration,
    ConfusionMatrix,
    ScoreCurve,
    calibration,
    check_bins,
    check_iou,
    confusion_matrix,
    score_curves,
)
from segkit.evaluation.threshold_metrics import check_metric
from segkit.registry import EVALUATOR_REGISTRY
from segkit.structures.score_thresholds import ScoreThresholds

logger = logging.getLogger(__name__)

FILE_NAME = "precision_recall.json"
MOST_POINTS = 1000  # of a curve in the file
DIGITS = 6  # of values in the file; scores are written in full
OTHERWISE = 0.5  # score threshold of the confusion matrix if there is no best one
OF_CURVES = ("F1", "precision", "recall", "best_threshold")


@EVALUATOR_REGISTRY.register
class PrecisionRecall(OverlapEvaluator):
    """Precision, recall and F1 by score at one IoU, the best score thresholds, calibration and confusion: ``segm/...``.

    - ``best_threshold``: the score threshold of the highest F1, or of the highest ``metric``, of all classes together.
    - ``F1``, ``precision``, ``recall``: of the detections that score at least as much, with the counts of all classes
      summed: 2 TP / (2 TP + FP + FN), TP / (TP + FP), TP / (TP + FN).
    - ``ECE``: the expected calibration error (:func:`~segkit.evaluation.score_curves.calibration`).
    - ``F1-NAME`` and so on: the same of each class, at its own best threshold.

    Matches are COCO's (:func:`~segkit.evaluation.greedy_matching.match_detections`). In a training the best thresholds are
    saved in the checkpoints, for ``predict.score_threshold: best``. They are those of the data they are chosen on, so that
    F1 there is an upper bound of what other data will have.

    Args:
        classes: name of each label.
        max_detections: the model's limit per image.
        results_dir: where ``precision_recall.json`` is written: the curves, interpolated precision at the ten IoUs of
            COCO, calibration, and the confusion matrix at the best threshold (0.5 without one); None: nowhere. For the
            boxes of a model with masks it is ``precision_recall_bbox.json``.
        class_agnostic: whether the model's detections have no class.
        predicts_masks: whether the model predicts masks; if not, ``segm`` is an error.
        iou_type: whether masks (``segm``) or boxes (``bbox``) overlap; None: masks, or boxes of a model without them.
        iou_threshold: lowest IoU of a detection that is right.
        metric: what the best threshold is chosen by: ``F1``, ``F2``, ``F0.5``, ``cell_AP``, ``precision@recall0.9``,
            ``recall@precision0.9`` (:func:`~segkit.evaluation.threshold_metrics.threshold_metric`).
        per_class: whether the metrics of each class are reported.
        bins: number of bins of the calibration.
    Raises:
        SegkitError: an argument out of range.
    """

    def __init__(
        self,
        classes: Sequence[str],
        max_detections: int,
        results_dir: str | None = None,
        class_agnostic: bool = False,
        predicts_masks: bool = True,
        *,
        iou_type: IouType | None = None,
        iou_threshold: float = 0.5,
        metric: str = "F1",
        per_class: bool = True,
        bins: int = 10,
    ) -> None:
        check_iou("iou_threshold", iou_threshold)
        check_metric(metric)
        check_bins(bins)
        super().__init__(classes, max_detections, class_agnostic, predicts_masks, iou_type=iou_type)
        self.file = None if results_dir is None else Path(results_dir) / file_name(self.iou_type, predicts_masks)
        self.iou_threshold = iou_threshold
        self.metric = metric
        self.per_class = per_class and len(self.classes) > 1
        self.bins = bins

    def metric_names(self) -> list[str]:
        names = [*OF_CURVES, "ECE"]
        names += [f"{name}-{label}" for label in self.classes for name in OF_CURVES if self.per_class]
        return [f"{self.iou_type}/{name}" for name in names]

    def reset(self) -> None:
        super().reset()
        self._thresholds: ScoreThresholds | None = None

    def best_thresholds(self) -> ScoreThresholds | None:
        return self._thresholds

    def metrics(self, data: DatasetOverlaps) -> dict[str, float]:
        ious = np.append(COCO_IOUS, self.iou_threshold)
        matches = [match_detections(image, ious, max_detections=data.max_detections) for image in data.images]
        at_threshold = [_some(one, slice(len(COCO_IOUS), None)) for one in matches]
        curves = score_curves(data, self.iou_threshold, self.metric, matches=at_threshold)
        found = calibration(data, iou_threshold=self.iou_threshold, bins=self.bins, matches=at_threshold)
        overall = curves[0].best_threshold
        self._thresholds = None if overall is None else self._best(overall, curves[1:])
        if self.file is not None:
            confusion = confusion_matrix(data, OTHERWISE if overall is None else overall, self.iou_threshold)
            precision = precision_at_recalls(data, matches=[_some(one, slice(len(COCO_IOUS))) for one in matches])
            content = file_content(data, self.iou_threshold, curves, found, confusion, precision)
            write_json(self.file, content)
        if not curves[0].objects:
            logger.warning(
                "no objects%s in the %d images evaluated: no precision and recall",
                " with masks" if self.iou_type == "segm" else "",
                len(data.images),
            )
            return {}
        metrics = _at_best(curves[0], "")
        if not math.isnan(found.error):
            metrics["ECE"] = found.error
        for curve in curves[1:] if self.per_class else ():
            metrics |= _at_best(curve, f"-{curve.name}")
        return {f"{self.iou_type}/{name}": value for name, value in metrics.items()}

    def _best(self, overall: float, curves: Sequence[ScoreCurve]) -> ScoreThresholds:
        by_class = {curve.name: curve.best_threshold for curve in curves if curve.best_threshold is not None}
        return ScoreThresholds(overall, by_class, self.metric, self.iou_threshold, self.iou_type)


def file_name(iou_type: IouType, predicts_masks: bool) -> str:
    """The name of the file that the evaluator writes."""
    return "precision_recall_bbox.json" if iou_type == "bbox" and predicts_masks else FILE_NAME


def _some(matches: Matches, rows: slice) -> Matches:
    """The matches at some of the IoU thresholds."""
    return Matches(matches.objects[rows], matches.ignored[rows], matches.ignored_objects)


def _at_best(curve: ScoreCurve, suffix: str) -> dict[str, float]:
    """The metrics of a curve at its best threshold; zeros if objects have no detection."""
    if not curve.objects:
        return {}
    position = curve.best_position
    if position is None:
        return {} if len(curve.thresholds) else {f"{name}{suffix}": 0.0 for name in OF_CURVES[:3]}
    values = (curve.f1[position], curve.precision[position], curve.recall[position], curve.thresholds[position])
    return {f"{name}{suffix}": float(value) for name, value in zip(OF_CURVES, values, strict=True)}


def file_content(
    data: DatasetOverlaps,
    iou_threshold: float,
    curves: Sequence[ScoreCurve],
    found: Calibration,
    confusion: ConfusionMatrix,
    precision: np.ndarray,
) -> dict[str, Any]:
    """Returns what ``precision_recall.json`` holds, as plain values; null stands for NaN.

    A curve has at most 1,000 of its points, evenly chosen by rank, the best one always among them.

    Args:
        data: overlaps of all images.
        iou_threshold: that of the curves.
        curves: of all classes together, then of each.
        found: the calibration.
        confusion: at the best threshold.
        precision: at ten IoUs and 101 recalls, float64 [10, K, 101].
    """
    return {
        "iou_type": data.iou_type,
        "iou_threshold": float(iou_threshold),
        "metric": curves[0].metric,
        "images": len(data.images),
        "classes": list(data.classes),
        "curves": [_curve_content(curve) for curve in curves],
        "precision_at_recalls": {
            "iou_thresholds": _plain(COCO_IOUS),
            "recalls": _plain(RECALLS),
            "by_class": {name: [_plain(row) for row in precision[:, k]] for k, name in enumerate(data.classes)},
        },
        "calibration": {
            "edges": _plain(found.edges),
            "counts": found.counts.tolist(),
            "scores": _plain(found.scores),
            "precision": _plain(found.precision),
            "error": None if math.isnan(found.error) else found.error,
        },
        "confusion": {"counts": confusion.counts.tolist(), "score_threshold": confusion.score_threshold},
    }


def _curve_content(curve: ScoreCurve) -> dict[str, Any]:
    count = len(curve.thresholds)
    kept = np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(np.int64))
    if curve.best_position is not None:
        kept = np.union1d(kept, [curve.best_position])
    return {
        "name": curve.name,
        "objects": curve.objects,
        "best_threshold": curve.best_threshold,
        "thresholds": curve.thresholds[kept].tolist(),
        "precision": _plain(curve.precision[kept]),
        "recall": _plain(curve.recall[kept]),
        "f1": _plain(curve.f1[kept]),
    }


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else round(value, DIGITS) for value in values.tolist()]
