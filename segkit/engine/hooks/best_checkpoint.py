"""Keeping the best model."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from segkit.engine.checkpoint import save_checkpoint, training_state
from segkit.engine.hooks.base import Hook
from segkit.utils.errors import SegkitError, did_you_mean

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer

logger = logging.getLogger(__name__)


class BestCheckpoint(Hook):
    """Saves ``model_best.pth`` after an evaluation whose ``metric`` is higher than all before.

    Args:
        metric: as it is called in ``metrics.json``; higher is better.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.best = -math.inf
        self.best_iteration = 0

    def after_step(self, trainer: Trainer) -> None:
        if trainer.evaluated_at != trainer.iteration:
            return
        if not trainer.evaluation:
            logger.warning("the evaluation gave no metrics, so there is no best checkpoint yet")
            return
        if self.metric not in trainer.evaluation:
            hint = did_you_mean(self.metric, trainer.evaluation)
            raise SegkitError(
                f"train.best_metric: the evaluation gives no '{self.metric}'{hint}",
                key="train.best_metric",
                value=self.metric,
                choices=trainer.evaluation,
            )
        value = trainer.evaluation[self.metric]
        if value > self.best:
            self.best, self.best_iteration = value, trainer.iteration
            save_checkpoint(trainer.output_dir / "model_best.pth", training_state(trainer))
            logger.info("best %s so far: %.2f; saved model_best.pth", self.metric, 100 * value)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_iteration": self.best_iteration}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.best_iteration = state["best"], state["best_iteration"]
