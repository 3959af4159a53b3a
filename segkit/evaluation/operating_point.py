"""Precision, recall and F1 of the detections above a score threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segkit.evaluation.greedy_matching import Matches
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.structures.score_thresholds import reaches


@dataclass(frozen=True)
class DetectionCounts:
    """Counts of each of I images, at one IoU and one score threshold, of all classes together.

    Attributes:
        score_threshold: smallest score of a detection.
        true: int64 [I], true positives.
        false: int64 [I], false positives.
        objects: int64 [I].
    """

    score_threshold: float
    true: np.ndarray
    false: np.ndarray
    objects: np.ndarray

    @property
    def image_f1(self) -> np.ndarray:
        """F1 of each image, 1 for one without objects and detections: float64 [I]."""
        whole = self.true + self.false + self.objects
        return np.divide(2 * self.true, whole, out=np.ones(len(whole)), where=whole > 0)

    def resampled(self, resamples: np.ndarray) -> dict[str, np.ndarray]:
        """Returns precision, recall and F1 of each resample: float64 [R] each.

        ``TP / (TP + FP)`` (0 without detections), ``TP / objects`` and ``2 TP / (TP + FP + objects)``; NaN without objects.

        Args:
            resamples: int [R, I], how many times each resample holds each image.
        """
        true, false, objects = (resamples @ values for values in (self.true, self.false, self.objects))
        found = true + false
        with np.errstate(invalid="ignore"):
            precision = np.where(objects > 0, true / np.maximum(found, 1), np.nan)
            return {"F1": 2 * true / np.where(objects > 0, found + objects, np.nan), "precision": precision} | {
                "recall": true / np.where(objects > 0, objects, np.nan)
            }


def count_detections(
    data: DatasetOverlaps, matches: Sequence[Matches], position: int, score_threshold: float | None = None
) -> DetectionCounts:
    """Counts true and false positives of each image above a score threshold.

    Args:
        data: the overlaps.
        matches: of each image.
        position: of the IoU threshold, among those of the matches.
        score_threshold: None: the one of the highest F1 over all images and classes, the highest of several.
    """
    count = len(data.images)
    scores = np.concatenate([np.zeros(0), *(image.scores for image in data.images)])
    images = np.repeat(np.arange(count), [len(image.scores) for image in data.images])
    none = np.zeros(0, bool)
    true = np.concatenate([none, *(one.true_positives[position] for one in matches)])
    false = np.concatenate([none, *(one.false_positives[position] for one in matches)])
    objects = np.array([(~one.ignored_objects).sum() for one in matches], np.int64)
    if score_threshold is None:
        score_threshold = _best_threshold(scores, true, false, int(objects.sum()))
    above = reaches(scores, score_threshold)
    true, false = (np.bincount(images[above & kind], minlength=count) for kind in (true, false))
    return DetectionCounts(score_threshold, true, false, objects)


def _best_threshold(scores: np.ndarray, true: np.ndarray, false: np.ndarray, objects: int) -> float:
    """The score threshold of the highest F1; 0 without true positives."""
    if not true.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    found, wrong = np.cumsum(true[order]), np.cumsum(false[order])
    f1 = 2 * found / (found + wrong + objects)
    last = np.append(np.diff(scores[order]) != 0, True)  # equal scores are above a threshold together
    return float(scores[order][np.argmax(np.where(last, f1, -1.0))])
