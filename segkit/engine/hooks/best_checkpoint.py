"""Keeping the best model."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from segkit.engine.checkpoint import BackgroundWriter, host_copy, save_checkpoint
from segkit.engine.hooks.base import Hook
from segkit.engine.hooks.checkpoint import parameters_are_finite
from segkit.engine.hooks.chosen_metric import find_value, rank, value_text
from segkit.engine.interrupt import delayed_interrupt
from segkit.engine.train_state import training_state
from segkit.utils import distributed
from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer

logger = logging.getLogger(__name__)


class BestCheckpoint(Hook):
    """Saves ``model_best.pth`` after an evaluation whose ``metric`` is better than at the last such save.

    Args:
        metric: as it is called in ``metrics.json``; higher is better, but of ``val/loss/...`` lower is.
        min_gain: it has to be better by more than this.
        writer: writes in the background, for all that saves.
    """

    def __init__(self, metric: str, *, min_gain: float = 0.0, writer: BackgroundWriter | None = None) -> None:
        if min_gain < 0:
            raise ValueError(f"min_gain must be 0 or more, got {min_gain}")
        self.metric = metric
        self.min_gain = min_gain
        self.writer = writer or BackgroundWriter()
        self.best = -math.inf
        self.best_iteration = 0
        self._compared = False

    def after_step(self, trainer: Trainer) -> None:
        if trainer.evaluated_at != trainer.iteration:
            return
        self._compared = True
        value = find_value(trainer.evaluation, self.metric, "train.best_metric")
        if value is not None and math.isnan(value):
            logger.warning("%s is NaN after iteration %d: no model is kept for it", self.metric, trainer.iteration)
        elif value is not None and rank(self.metric, value) > self.best + self.min_gain:
            self._save(trainer, rank(self.metric, value))
            logger.info("best %s so far: %s; saved model_best.pth", self.metric, value_text(self.metric, value))

    def _save(self, trainer: Trainer, value: float) -> None:
        trainer.check_metrics()  # never a model of NaN over one that was good
        if not parameters_are_finite(trainer.model):
            raise SegkitError(f"training diverged: the weights after iteration {trainer.iteration} are NaN or infinite")
        if not distributed.is_main():
            self.best, self.best_iteration = value, trainer.iteration
            return
        before, path = (self.best, self.best_iteration), trainer.output_dir / "model_best.pth"

        def write() -> None:
            try:
                save_checkpoint(path, state)
            except BaseException:  # the resumed run shall find it better once more, and save it
                self.best, self.best_iteration = before
                raise

        with delayed_interrupt():
            self.writer.wait()
            self.best, self.best_iteration = value, trainer.iteration  # first, for the file holds them
            state = host_copy(training_state(trainer, trainer.pending))
            self.writer.submit(write)

    def after_train(self, trainer: Trainer) -> None:
        self.writer.wait()
        if not self._compared and trainer.iteration > trainer.start_iteration:
            logger.warning("%s has met no evaluation to compare: it comes after the hook that evaluates", self.name)

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "best": self.best, "best_iteration": self.best_iteration}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("metric", self.metric) != self.metric:
            logger.warning(
                "the best %s so far is not compared with %s: the next is the first", state["metric"], self.metric
            )
            return
        self.best, self.best_iteration = state["best"], state["best_iteration"]
