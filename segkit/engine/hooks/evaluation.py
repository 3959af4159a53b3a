"""Measuring the model on the validation data while it trains."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from segkit.engine.hooks.base import Hook
from segkit.evaluation import Evaluator, evaluate, metrics_table
from segkit.evaluation.evaluator import check_evaluators
from segkit.utils import distributed

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer

logger = logging.getLogger(__name__)


class Evaluation(Hook):
    """Evaluates every ``period`` iterations and after the last one, into ``trainer.evaluation`` and the log.

    Where weights are averaged, it is the average that is evaluated.

    Args:
        loader: batches with ground truth.
        evaluators: what is measured.
        classes: for the table of the last evaluation, which has a line a class.
        period: in iterations; 0: only at the end.
        losses: whether the validation losses are measured too.
    Raises:
        SegkitError: two evaluators give one metric; or there are several processes, and an evaluator that cannot be used by
            them.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        evaluators: Sequence[Evaluator],
        *,
        classes: Sequence[str] = (),
        period: int = 0,
        losses: bool = True,
    ) -> None:
        check_evaluators(evaluators)
        self.loader = loader
        self.evaluators = list(evaluators)
        self.classes = list(classes)
        self.period = period
        self.losses = losses

    def after_step(self, trainer: Trainer) -> None:
        if not (trainer.done or (self.period and trainer.iteration % self.period == 0)):
            return
        trainer.check_metrics()  # of a model of NaN this says when it began, which evaluating it would not
        # Running statistics: those of one process are saved, and evaluated.
        distributed.broadcast_tensors(list(trainer.model.buffers()))
        with trainer.averaged_weights():
            metrics = evaluate(
                trainer.model, self.loader, self.evaluators, trainer.device, trainer.autocast(), losses=self.losses
            )
        trainer.evaluation, trainer.evaluated_at = metrics, trainer.iteration
        for name, value in metrics.items():
            trainer.log(name, value)
        shown = metrics if trainer.done else without_classes(metrics, self.classes)
        table = metrics_table(shown, self.classes if trainer.done else ())
        logger.info("evaluation after iteration %d\n%s", trainer.iteration, table)


def without_classes(metrics: dict[str, float], classes: Sequence[str]) -> dict[str, float]:
    """The metrics over all classes: those whose name does not end with a class's."""
    return {name: value for name, value in metrics.items() if not any(name.endswith(f"-{c}") for c in classes)}
