"""Keeping the best model."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from segkit.engine.background import BackgroundWriter, host_copy
from segkit.engine.checkpoint import save_checkpoint, training_state
from segkit.engine.hooks.base import Hook
from segkit.engine.hooks.checkpoint import parameters_are_finite
from segkit.engine.interrupt import delayed_interrupt
from segkit.evaluation.coco import CocoEvaluator
from segkit.evaluation.validation_losses import LOSS_PREFIX
from segkit.utils.errors import SegkitError, did_you_mean

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer

logger = logging.getLogger(__name__)


class BestCheckpoint(Hook):
    """Saves ``model_best.pth`` after an evaluation whose ``metric`` is better than all before.

    Args:
        metric: as it is called in ``metrics.json``; higher is better, but of ``val/loss/...`` lower is.
        writer: writes in the background, for all that saves.
    """

    def __init__(self, metric: str, *, writer: BackgroundWriter | None = None) -> None:
        self.metric = metric
        self.writer = writer or BackgroundWriter()
        self.best = -math.inf
        self.best_iteration = 0

    def after_step(self, trainer: Trainer) -> None:
        if trainer.evaluated_at != trainer.iteration:
            return
        if self.metric not in trainer.evaluation and all(name.startswith(LOSS_PREFIX) for name in trainer.evaluation):
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
        is_loss = self.metric.startswith(LOSS_PREFIX)
        if (rank := -value if is_loss else value) > self.best:
            self._save(trainer, rank)
            shown = f"{value:.4f}" if is_loss else f"{100 * value:.2f}"
            logger.info("best %s so far: %s; saved model_best.pth", self.metric, shown)

    def _save(self, trainer: Trainer, value: float) -> None:
        trainer.check_metrics()  # never a model of NaN over one that was good
        if not parameters_are_finite(trainer.model):
            raise SegkitError(f"training diverged: the weights after iteration {trainer.iteration} are NaN or infinite")
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

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "best": self.best, "best_iteration": self.best_iteration}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("metric", self.metric) != self.metric:
            logger.warning(
                "the best %s so far is not compared with %s: the next is the first", state["metric"], self.metric
            )
            return
        self.best, self.best_iteration = state["best"], state["best_iteration"]


def choose_metric(metric: str, evaluators: Sequence[Any], *, losses: bool = True) -> str:
    """``metric``, or boxes' AP where it is the default, masks' AP, and masks are not evaluated.

    Args:
        losses: whether the validation losses are measured.
    Raises:
        SegkitError: no evaluator will give it, as far as that is known before the training: evaluators other than COCO
            may give anything.
    """
    if losses and metric.startswith(LOSS_PREFIX):
        return metric
    if not evaluators or not all(isinstance(evaluator, CocoEvaluator) for evaluator in evaluators):
        return metric
    names = [name for evaluator in evaluators for name in coco_metric_names(evaluator)]
    if metric in names:
        return metric
    if metric == "segm/AP" and "bbox/AP" in names:
        logger.warning("train.best_metric: masks are not evaluated, so the best model is that of the highest bbox/AP")
        return "bbox/AP"
    raise SegkitError(
        f"train.best_metric: the evaluators give no '{metric}'{did_you_mean(metric, names)}",
        key="train.best_metric",
        value=metric,
        choices=names,
    )


def coco_metric_names(evaluator: CocoEvaluator) -> list[str]:
    """All that the evaluator can give; what the data has no ground truth for it leaves out."""
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AP@100", "AR"]
    names += [f"{ap}@score{threshold:g}" for threshold in evaluator.score_thresholds for ap in ("AP", "AP50")]
    if evaluator.class_agnostic:
        names.append("AR@100")
    if evaluator.per_class:
        names += [f"{ap}-{name}" for name in evaluator.classes for ap in ("AP", "AP50", "AP75")]
    return [f"{iou_type}/{name}" for iou_type in evaluator.iou_types for name in names]
