"""Precision, recall, F1 and calibration by score, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ScoreCurve:
    """Precision, recall and F1 of the detections that score at least each of T thresholds.

    Attributes:
        name: the class, or ``all`` for all classes together.
        thresholds: float64 [T], falling.
        precision: float64 [T].
        recall: float64 [T].
        best_threshold: the one of the highest value of the chosen metric; None without objects or detections.
    """

    name: str
    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    best_threshold: float | None

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall: float64 [T]."""
        total = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)


@dataclass(frozen=True)
class Calibration:
    """How often detections of a score are right.

    Guo et al. 2017, On Calibration of Modern Neural Networks.

    Attributes:
        edges: float64 [B + 1] of the bins of scores, rising.
        counts: int64 [B], detections.
        scores: float64 [B], their mean score; NaN in an empty bin.
        precision: float64 [B], the share that is matched; NaN in an empty bin.
        error: expected calibration error, the mean of ``|scores - precision|`` weighted by ``counts``.
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
