"""Formats metrics as tables for the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from segkit.evaluation.validation_losses import LOSS_PREFIX


def metrics_table(metrics: Mapping[str, float], classes: Sequence[str] = ()) -> str:
    """Formats metrics in percent: a row for boxes, one for masks, below it one per class.

    An absent metric (no ground truth) is shown as ``-``. Validation losses come first, on a line of their own.

    Args:
        metrics: ``segm/AP`` and so on, in 0..1.
        classes: those to show, in this order.
    """
    losses = {key.removeprefix(LOSS_PREFIX): value for key, value in metrics.items() if key.startswith(LOSS_PREFIX)}
    if losses:
        metrics = {key: value for key, value in metrics.items() if not key.startswith(LOSS_PREFIX)}
        total = losses.pop("total")
        parts = " ".join(f"{name} {value:.4f}" for name, value in losses.items())
        return f"validation loss {total:.4f} ({parts})\n{metrics_table(metrics, classes)}"
    kinds = list(dict.fromkeys(key.split("/", 1)[0] for key in metrics if "/" in key))
    of_class = {f"{metric}-{name}" for metric in ("AP", "AP50", "AP75") for name in classes}
    columns = list(
        dict.fromkeys(key.split("/", 1)[1] for key in metrics if "/" in key and key.split("/", 1)[1] not in of_class)
    )
    if not kinds:
        return "no metrics"
    rows = [[kind, *(_percent(metrics.get(f"{kind}/{column}")) for column in columns)] for kind in kinds]
    text = tabulate(rows, headers=["", *columns], stralign="right", disable_numparse=True)
    per_class = [
        [name, *(_percent(metrics.get(f"{kind}/{m}-{name}")) for kind in kinds for m in ("AP", "AP50", "AP75"))]
        for name in classes
    ]
    if any(f"{kind}/{key}" in metrics for kind in kinds for key in of_class):
        headers = ["class", *(f"{kind}/{m}" for kind in kinds for m in ("AP", "AP50", "AP75"))]
        text += "\n\n" + tabulate(per_class, headers=headers, stralign="right", disable_numparse=True)
    return text


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
