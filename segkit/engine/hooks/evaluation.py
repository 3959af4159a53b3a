"""Evaluation during training, the metric that compares models, and early stopping."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from segkit.engine.train_loop import Hook, TrainerBase
from segkit.evaluation import Evaluator, evaluate, metrics_table
from segkit.evaluation.coco import CocoEvaluator
from segkit.evaluation.evaluator import PredictionPipeline, check_evaluators
from segkit.evaluation.precision_recall import PrecisionRecall
from segkit.evaluation.validation_losses import LOSS_PREFIX
from segkit.structures.score_thresholds import ScoreThresholds
from segkit.utils import distributed
from segkit.utils.errors import SegkitError, did_you_mean

logger = logging.getLogger(__name__)


class Evaluation(Hook):
    """Evaluates the model every ``period`` iterations and after the last one.

    The metrics go to ``trainer.evaluation`` and to the log, the best score thresholds to ``trainer.score_thresholds``. If
    there is an EMA of the weights, it is what is evaluated.

    Args:
        loader: batches with ground truth.
        evaluators: what is measured.
        classes: names for the table of the last evaluation, which has one line for each class.
        period: in iterations; 0: only at the end.
        losses: whether the validation losses are measured too.
        pipeline: what a prediction does beside the model; None: nothing.
    Raises:
        SegkitError: two evaluators return the same metric; or an evaluator does not support several processes, and there
            are several.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        evaluators: Sequence[Evaluator],
        *,
        classes: Sequence[str] = (),
        period: int = 0,
        losses: bool = True,
        pipeline: PredictionPipeline | None = None,
    ) -> None:
        check_evaluators(evaluators)
        self.loader = loader
        self.evaluators = list(evaluators)
        self.classes = list(classes)
        self.period = period
        self.losses = losses
        self.pipeline = pipeline

    def after_step(self, trainer: TrainerBase) -> None:
        if not (trainer.done or (self.period and trainer.iteration % self.period == 0)):
            return
        trainer.check_metrics()  # if weights are NaN, this error names the iteration; an evaluation's error could not
        # Running statistics are each process's own: those of the first process are saved, so all evaluate with them.
        distributed.broadcast_tensors(list(trainer.model.buffers()))
        with trainer.ema_weights():
            metrics = evaluate(
                trainer.model,
                self.loader,
                self.evaluators,
                trainer.device,
                trainer.autocast(),
                losses=self.losses,
                pipeline=self.pipeline,
            )
        trainer.evaluation, trainer.evaluated_at = metrics, trainer.iteration
        trainer.score_thresholds = best_score_thresholds(self.evaluators, trainer.iteration)
        for name, value in metrics.items():
            trainer.log(name, value)
        shown = metrics if trainer.done else without_classes(metrics, self.classes)
        table = metrics_table(shown, self.classes if trainer.done else ())
        logger.info("evaluation after iteration %d\n%s", trainer.iteration, table)


def best_score_thresholds(evaluators: Sequence[Any], iteration: int | None = None) -> ScoreThresholds | None:
    """Returns the best score thresholds of the last evaluation, the same in all processes.

    They are those of the first evaluator that has some; None: none has.

    Args:
        evaluators: those of the evaluation.
        iteration: steps of the training that are done; None outside of a training.
    """
    found = None
    if distributed.is_main():  # it alone has computed the metrics
        known = (getattr(evaluator, "best_thresholds", lambda: None)() for evaluator in evaluators)
        found = next((one for one in known if one is not None), None)
    found = distributed.broadcast(found)
    return None if found is None else replace(found, iteration=iteration)


def without_classes(metrics: dict[str, float], classes: Sequence[str]) -> dict[str, float]:
    """Returns the metrics over all classes: those whose name does not end with a class name."""
    return {name: value for name, value in metrics.items() if not any(name.endswith(f"-{c}") for c in classes)}


def to_score(metric: str, value: float) -> float:
    """Returns ``value`` with the sign for which higher is better: ``val/loss/...`` is negated."""
    return -value if metric.startswith(LOSS_PREFIX) else value


def value_text(metric: str, value: float) -> str:
    """Returns a metric's value as the tables print it: losses as they are, others times 100."""
    return f"{value:.4f}" if metric.startswith(LOSS_PREFIX) else f"{100 * value:.2f}"


def find_value(evaluation: Mapping[str, float | None], metric: str, key: str) -> float | None:
    """Returns a metric of an evaluation; None, after a warning, if there was nothing to measure.

    That is so if the evaluation has losses only (no detection yet), or metrics of boxes but not of masks (no evaluated
    object has a mask).

    Args:
        key: the configuration's key that names the metric, for the message.
    Raises:
        SegkitError: the evaluation has other metrics only.
    """
    if metric in evaluation:
        return evaluation[metric]
    if all(name.startswith(LOSS_PREFIX) for name in evaluation):
        logger.warning("the evaluation returned no metrics, so there is no %s to compare yet", metric)
        return None
    kinds = {name.partition("/")[0] for name in evaluation}
    if metric.startswith("segm/") and "bbox" in kinds and "segm" not in kinds:
        logger.warning("the evaluation returned metrics of boxes only, so there is no %s to compare", metric)
        return None
    raise SegkitError(
        f"{key}: the evaluation has no '{metric}'{did_you_mean(metric, evaluation)}",
        key=key,
        value=metric,
        choices=evaluation,
    )


def choose_metric(
    metric: str, evaluators: Sequence[Any], *, losses: bool = True, key: str = "train.best_metric"
) -> str:
    """Returns ``metric``, or the AP of boxes for the default (AP of masks) without masks.

    Args:
        losses: whether the validation losses are measured.
        key: the configuration's key that names the metric, for the message.
    Raises:
        SegkitError: no evaluator returns it, as far as that is known before the training: of the evaluators COCO and
            PrecisionRecall.
    """
    if losses and metric.startswith(LOSS_PREFIX):
        return metric
    if not evaluators or not all(isinstance(evaluator, (CocoEvaluator, PrecisionRecall)) for evaluator in evaluators):
        return metric
    names = [name for evaluator in evaluators for name in evaluator.metric_names()]
    if metric in names:
        return metric
    if metric == "segm/AP" and "bbox/AP" in names:
        logger.warning("%s: masks are not evaluated, so the best model is the one with the highest bbox/AP", key)
        return "bbox/AP"
    raise SegkitError(
        f"{key}: the evaluators return no '{metric}'{did_you_mean(metric, names)}",
        key=key,
        value=metric,
        choices=names,
    )


class EarlyStopping(Hook):
    """Ends the run after ``patience`` evaluations in a row without a gain.

    The run ends as after its last iteration: it is evaluated and saved.

    Args:
        metric: as named in ``metrics.json``; higher is better, except for ``val/loss/...``. NaN is no gain.
        patience: number of evaluations.
        min_gain: a gain exceeds the best so far by more than this.
    """

    def __init__(self, metric: str, *, patience: int, min_gain: float = 0.0) -> None:
        if patience < 1 or min_gain < 0:
            raise ValueError(f"patience must be 1 or more and min_gain 0 or more, got {patience} and {min_gain}")
        self.metric = metric
        self.patience = patience
        self.min_gain = min_gain
        self.best = -math.inf
        self.waited = 0
        self._seen_at: int | None = None  # iteration of the last evaluation that was counted

    def before_train(self, trainer: TrainerBase) -> None:
        self._stop_if_due(trainer)  # a resumed run may have been stopped already

    def after_step(self, trainer: TrainerBase) -> None:
        if trainer.evaluated_at != trainer.iteration or self._seen_at == trainer.iteration:
            return
        value = find_value(trainer.evaluation, self.metric, "train.early_stopping.metric")
        self._seen_at = trainer.iteration
        if value is not None and to_score(self.metric, value) > self.best + self.min_gain:
            self.best, self.waited = to_score(self.metric, value), 0
        else:
            self.waited += 1
        self._stop_if_due(trainer)

    def _stop_if_due(self, trainer: TrainerBase) -> None:
        if self.waited >= self.patience and not trainer.done:
            best = value_text(self.metric, to_score(self.metric, self.best))  # to_score is its own inverse
            logger.info(
                "early stopping after iteration %d: %d evaluations have not improved on %s %s "
                "(to train on, resume with a larger train.early_stopping.patience, or null)",
                trainer.iteration, self.waited, self.metric, best,
            )  # fmt: skip
            trainer.stop()

    def after_train(self, trainer: TrainerBase) -> None:
        if self._seen_at is None and trainer.iteration > trainer.start_iteration:
            logger.warning("%s has met no evaluation to compare: it comes after the hook that evaluates", self.name)

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "best": self.best, "waited": self.waited, "seen_at": self._seen_at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("metric", self.metric) != self.metric:
            logger.warning(
                "early stopping compared %s and compares %s now: it starts over", state["metric"], self.metric
            )
            return
        self.best, self.waited, self._seen_at = state["best"], state["waited"], state["seen_at"]
