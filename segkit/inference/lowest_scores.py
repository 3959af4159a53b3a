"""The lowest scores of the detections that a Predictor returns."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from numbers import Real
from typing import Any

from torch import Tensor

from segkit.structures.score_thresholds import BEST, BEST_OVERALL, ScoreThresholds, resolve_threshold
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


def lowest_scores(
    setting: Any,
    saved: ScoreThresholds | None,
    classes: Sequence[str],
    *,
    source: str,
    iteration: int | None,
    floor: float,
) -> float | Tensor:
    """Returns the lowest score that is kept: of all labels, or of each one, float32 [K].

    Warns of a threshold below ``floor``, and of best thresholds that belong to other weights.

    Args:
        setting: a score, ``best`` or ``best_overall``.
        saved: the best thresholds that the checkpoint holds.
        classes: name of each label.
        source: the checkpoint, for messages.
        iteration: steps of the training after which its weights were saved; None if unknown.
        floor: the lowest score that the model returns.
    Raises:
        SegkitError: ``setting`` is something else, or the best thresholds are not known.
    """
    if setting in (BEST, BEST_OVERALL):
        if saved is not None and iteration not in (None, saved.iteration):
            logger.warning(
                "%s: its best score thresholds were found after iteration %s, and its weights are those of iteration %s",
                source, saved.iteration, iteration,
            )  # fmt: skip
        return resolve_threshold(setting, saved, classes, source)
    if isinstance(setting, bool) or not isinstance(setting, Real) or not 0 <= float(setting) <= 1:
        raise SegkitError(
            f"score_threshold is a number in 0..1, {BEST} or {BEST_OVERALL}, not {setting!r}", key="score_threshold"
        )
    if 0 < float(setting) < floor:  # 0 stands for all detections
        logger.warning(
            "score_threshold %g has no effect below %g, the lowest score that the model returns "
            "(model.roi_heads.score_threshold)", setting, floor,
        )  # fmt: skip
    return float(setting)
