"""The score thresholds that an evaluation has found to be best, and detections above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from segkit.structures.detections import Detections
from segkit.utils.errors import SegkitError

BEST: Literal["best"] = "best"  # the best threshold of each class
BEST_OVERALL: Literal["best_overall"] = "best_overall"  # one threshold for all classes
EVALUATOR = "PrecisionRecall"  # the evaluator that finds them


@dataclass(frozen=True)
class ScoreThresholds:
    """The best score thresholds on validation data: plain values, which checkpoints keep.

    Attributes:
        overall: the best single threshold for the detections of all classes together.
        by_class: the best one of each class, by its name; a class without one (no object in the data) is absent, and
            ``overall`` serves it.
        metric: what is highest at them, as ``F1``.
        iou_threshold: lowest IoU of a detection that is right.
        iou_type: whether masks (``segm``) or boxes (``bbox``) were compared.
        iteration: steps of the training after which the weights were evaluated; None outside of a training.
    """

    overall: float
    by_class: Mapping[str, float]
    metric: str
    iou_threshold: float
    iou_type: str
    iteration: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, which :meth:`of_dict` reads."""
        return {**asdict(self), "by_class": dict(self.by_class)}

    @classmethod
    def of_dict(cls, values: Mapping[str, Any]) -> ScoreThresholds:
        """Returns the thresholds of a checkpoint."""
        return cls(**values)

    def of_labels(self, classes: Sequence[str]) -> Tensor:
        """Returns the threshold of each label: float32 [K]."""
        return torch.tensor([self.by_class.get(name, self.overall) for name in classes], dtype=torch.float32)


def saved_thresholds(checkpoint: Mapping[str, Any]) -> ScoreThresholds | None:
    """Returns the best score thresholds that a checkpoint's content holds; None if it has none.

    They are those of the last evaluation before the checkpoint was written.
    """
    values = checkpoint.get("score_thresholds")
    return None if values is None else ScoreThresholds.of_dict(values)


def resolve_threshold(
    setting: float | str, saved: ScoreThresholds | None, classes: Sequence[str], source: str
) -> float | Tensor:
    """Returns the score threshold that a setting stands for.

    It is one number for all labels, or one of each label, float32 [K].

    Args:
        setting: a score, ``best`` or ``best_overall``.
        saved: the best thresholds, if they are known.
        classes: name of each label.
        source: what lacks thresholds if ``saved`` is None, for the message.
    Raises:
        SegkitError: the best thresholds are not known.
    """
    if not isinstance(setting, str):
        return float(setting)
    assert setting in (BEST, BEST_OVERALL), setting
    if saved is None:
        raise SegkitError(
            f"score_threshold: {setting}: {source} has no best score thresholds. A training saves them in its checkpoints if "
            f"its evaluators have {{name: {EVALUATOR}}} and its validation data have objects. Give a number, as 0.5; segkit "
            f"eval with 'evaluators=[{{name: {EVALUATOR}}}]' prints the best one as best_threshold",
            key="predict.score_threshold",
            value=setting,
        )
    return saved.overall if setting == BEST_OVERALL else saved.of_labels(classes)


def above_threshold(detections: Detections, threshold: float | Tensor) -> Detections:
    """Returns the detections that score at least ``threshold``: a score, or one of each label."""
    if isinstance(threshold, Tensor):
        threshold = threshold.to(detections.scores.device)[detections.labels]
    elif threshold <= 0:
        return detections
    return detections[detections.scores >= threshold]


def reaches(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Whether each score is at least a threshold: bool [N], as :func:`above_threshold` decides.

    Scores are a model's float32, so the threshold is rounded to float32 too. A score that a file has as 0.7 reaches 0.7.
    """
    return scores.astype(np.float32) >= np.float32(threshold)
