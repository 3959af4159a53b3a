"""The metric by which models are compared: which is better, and whether there is such a metric."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from segkit.evaluation.coco import CocoEvaluator
from segkit.evaluation.validation_losses import LOSS_PREFIX
from segkit.utils.errors import SegkitError, did_you_mean

logger = logging.getLogger(__name__)


def rank(metric: str, value: float) -> float:
    """``value`` as a number of which more is better: of ``val/loss/...`` less is."""
    return -value if metric.startswith(LOSS_PREFIX) else value


def value_text(metric: str, value: float) -> str:
    """A metric's value as the tables print it: losses as they are, others times 100."""
    return f"{value:.4f}" if metric.startswith(LOSS_PREFIX) else f"{100 * value:.2f}"


def find_value(evaluation: Mapping[str, float], metric: str, key: str) -> float | None:
    """The metric's value in an evaluation; None, after a warning, where there was nothing to measure.

    That is where it gave nothing but losses (nothing was found yet), or boxes' metrics and no masks' (no object
    evaluated has a mask).

    Args:
        key: the configuration's key that names the metric, for the message.
    Raises:
        SegkitError: the evaluation gave others only.
    """
    if metric in evaluation:
        return evaluation[metric]
    if all(name.startswith(LOSS_PREFIX) for name in evaluation):
        logger.warning("the evaluation gave no metrics, so there is no %s to compare yet", metric)
        return None
    kinds = {name.partition("/")[0] for name in evaluation}
    if metric.startswith("segm/") and "bbox" in kinds and "segm" not in kinds:
        logger.warning("the evaluation gave metrics of boxes only, so there is no %s to compare", metric)
        return None
    raise SegkitError(
        f"{key}: the evaluation gives no '{metric}'{did_you_mean(metric, evaluation)}",
        key=key,
        value=metric,
        choices=evaluation,
    )


def choose_metric(
    metric: str, evaluators: Sequence[Any], *, losses: bool = True, key: str = "train.best_metric"
) -> str:
    """``metric``, or boxes' AP where it is the default, masks' AP, and masks are not evaluated.

    Args:
        losses: whether the validation losses are measured.
        key: the configuration's key that names the metric, for the message.
    Raises:
        SegkitError: no evaluator will give it, as far as that is known before the training: evaluators other than COCO
            may give anything.
    """
    if losses and metric.startswith(LOSS_PREFIX):
        return metric
    if not evaluators or not all(isinstance(evaluator, CocoEvaluator) for evaluator in evaluators):
        return metric
    names = [name for evaluator in evaluators for name in evaluator.metric_names()]
    if metric in names:
        return metric
    if metric == "segm/AP" and "bbox/AP" in names:
        logger.warning("%s: masks are not evaluated, so the best model is that of the highest bbox/AP", key)
        return "bbox/AP"
    raise SegkitError(
        f"{key}: the evaluators give no '{metric}'{did_you_mean(metric, names)}",
        key=key,
        value=metric,
        choices=names,
    )
