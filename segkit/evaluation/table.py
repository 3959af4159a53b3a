"""Formats metrics as tables for the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from segkit.evaluation.validation_losses import LOSS_PREFIX

THRESHOLD = "best_threshold"  # a metric that is a score
MOST_COLUMNS = 16  # of a table; more go into another one below it


def metrics_table(metrics: Mapping[str, float], classes: Sequence[str] = ()) -> str:
    """Formats metrics in percent: a row for boxes, one for masks, below it one per class.

    Score thresholds (``best_threshold``) are shown as they are, since one copies them.

    Kinds of metrics that have no name in common, as COCO's and those of cells, have tables of their own. An absent metric
    (no ground truth) is shown as ``-``. Validation losses come first, on a line of their own.

    Args:
        metrics: ``segm/AP`` and so on, in 0..1.
        classes: those to show, in this order; their metrics end with ``-`` and the name, as ``segm/AP-NAME``.
    """
    losses = {key.removeprefix(LOSS_PREFIX): value for key, value in metrics.items() if key.startswith(LOSS_PREFIX)}
    if losses:
        metrics = {key: value for key, value in metrics.items() if not key.startswith(LOSS_PREFIX)}
        total = losses.pop("total")
        parts = " ".join(f"{name} {value:.4f}" for name, value in losses.items())
        return f"validation loss {total:.4f} ({parts})\n{metrics_table(metrics, classes)}"
    of_kind: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        kind, separator, name = key.partition("/")
        if separator:
            of_kind.setdefault(kind, {})[name] = value
    if not of_kind:
        return "no metrics"
    suffixes = sorted((f"-{name}" for name in classes), key=len, reverse=True)  # the class "a-b" before "b"
    groups: list[tuple[dict[str, dict[str, float]], list[str]]] = []
    for kind, values in of_kind.items():
        columns = [name for name in values if not _suffix(name, suffixes)]
        for members, shared in groups:
            if set(shared) & set(columns):
                members[kind] = values
                shared += [name for name in columns if name not in shared]
                break
        else:
            groups.append(({kind: values}, columns))
    tables = []
    for members, columns in groups:
        for start in range(0, max(len(columns), 1), MOST_COLUMNS):
            part = columns[start : start + MOST_COLUMNS]
            rows = [
                [kind, *(_value_text(name, values.get(name)) for name in part)]
                for kind, values in members.items()
                if not part or any(name in values for name in part)
            ]
            tables.append(_table(rows, ["", *part]))
        tables += _class_table(members, classes, suffixes)
    return "\n\n".join(tables)


def _class_table(
    members: Mapping[str, Mapping[str, float]], classes: Sequence[str], suffixes: Sequence[str]
) -> list[str]:
    """The table of the metrics of each class, if there are any."""
    found = [
        (kind, name.removesuffix(suffix))
        for kind, values in members.items()
        for name in values
        if (suffix := _suffix(name, suffixes))
    ]
    if not found:
        return []
    present = set(found)
    metrics = dict.fromkeys(metric for _, metric in found)
    columns = [(kind, metric) for kind in members for metric in metrics if (kind, metric) in present]
    rows = [
        [name, *(_value_text(metric, members[kind].get(f"{metric}-{name}")) for kind, metric in columns)]
        for name in classes
    ]
    return [_table(rows, ["class", *(f"{kind}/{metric}" for kind, metric in columns)])]


def _suffix(name: str, suffixes: Sequence[str]) -> str:
    """The suffix of a class that a metric's name ends with; empty if it is of all classes."""
    return next((suffix for suffix in suffixes if name.endswith(suffix)), "")


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers=headers, stralign="right", disable_numparse=True)


def _value_text(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if name == THRESHOLD else f"{100 * value:.2f}"
