"""Ending a run that gains nothing any more."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from segkit.engine.hooks.base import Hook
from segkit.engine.hooks.chosen_metric import find_value, rank, value_text

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer

logger = logging.getLogger(__name__)


class EarlyStopping(Hook):
    """Ends the run after ``patience`` evaluations in a row without a gain; the last step is finished and saved.

    Args:
        metric: as it is called in ``metrics.json``; higher is better, but of ``val/loss/...`` lower is. NaN is no gain.
        patience: in evaluations.
        min_gain: a gain is more than this over the best so far.
    """

    def __init__(self, metric: str, *, patience: int, min_gain: float = 0.0) -> None:
        if patience < 1 or min_gain < 0:
            raise ValueError(f"patience must be 1 or more and min_gain 0 or more, got {patience} and {min_gain}")
        self.metric = metric
        self.patience = patience
        self.min_gain = min_gain
        self.best = -math.inf
        self.waited = 0
        self._seen_at: int | None = None  # the evaluation that has been counted

    def before_train(self, trainer: Trainer) -> None:
        self._stop_if_due(trainer)  # a resumed run may have been stopped already

    def after_step(self, trainer: Trainer) -> None:
        if trainer.evaluated_at != trainer.iteration or self._seen_at == trainer.iteration:
            return
        value = find_value(trainer.evaluation, self.metric, "train.early_stopping.metric")
        self._seen_at = trainer.iteration
        if value is not None and rank(self.metric, value) > self.best + self.min_gain:
            self.best, self.waited = rank(self.metric, value), 0
        else:
            self.waited += 1
        self._stop_if_due(trainer)

    def _stop_if_due(self, trainer: Trainer) -> None:
        if self.waited >= self.patience and not trainer.done:
            best = value_text(self.metric, rank(self.metric, self.best))  # which undoes itself
            logger.info(
                "early stopping after iteration %d: %d evaluations have not bettered %s %s "
                "(a larger train.early_stopping.patience, or null, goes on with --resume)",
                trainer.iteration, self.waited, self.metric, best,
            )  # fmt: skip
            trainer.stop()

    def after_train(self, trainer: Trainer) -> None:
        if self._seen_at is None and trainer.iteration > trainer.start_iteration:
            logger.warning("%s has met no evaluation to compare: it comes after the hook that evaluates", self.name)

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "best": self.best, "waited": self.waited, "seen_at": self._seen_at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("metric", self.metric) != self.metric:
            logger.warning(
                "early stopping looked at %s and looks at %s now: it begins anew", state["metric"], self.metric
            )
            return
        self.best, self.waited, self._seen_at = state["best"], state["waited"], state["seen_at"]
