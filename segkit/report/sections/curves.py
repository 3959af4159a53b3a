"""Losses, learning rate and metrics over the iterations of the training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from segkit.report.analysis import RunAnalysis
from segkit.report.metrics_lines import thinned
from segkit.report.sections.base import Section, fill
from segkit.report.svg import Line, line_chart
from segkit.visualization.curves import LOSS, SMOOTHED_FROM, VALIDATION_LOSS, smoothed

AP_NAMES = ("AP", "AP50", "AP75")
MOST_OTHERS = 12  # charts of other metrics


def section(runs: Sequence[RunAnalysis]) -> Section:
    """The curves of all runs together."""
    trained = [run for run in runs if len(run.lines)]
    missing = [run for run in runs if not len(run.lines)]
    charts = [] if not trained else [*_losses(trained), *_rates(trained), *_validation(trained)]
    body = fill("curves.html", runs=trained, missing=missing, charts=charts, several=len(runs) > 1)
    lead = "Thin lines are the raw values, thick ones their running mean over about a twelfth of the training."
    return Section("curves", "Training", "Training curves", body, lead if charts else "")


def lines_of(run: RunAnalysis, key: str, name: str, color: int, *, smooth: bool, dashed: bool = False) -> list[Line]:
    """The line of a key; with ``smooth``, if there are enough values, also their running mean."""
    x, y = run.lines.series(key)
    if smooth and len(y) >= SMOOTHED_FROM:
        raw = thinned(x, y)
        mean = thinned(x, smoothed(y))
        return [Line("", *raw, color, f"raw {run.css}"), Line(name, *mean, color, run.css, dashed)]
    return [Line(name, *thinned(x, y), color, run.css, dashed)] if len(x) else []


def _losses(runs: Sequence[RunAnalysis]) -> list[Markup]:
    keys = list(dict.fromkeys(key for run in runs for key in run.lines.keys))
    names = {key.removeprefix("val/") for key in keys if key.startswith((LOSS, VALIDATION_LOSS))}
    ordered = sorted(names, key=lambda name: (name != "loss/total", name))
    charts = []
    for name in ordered:
        lines: list[Line] = []
        for run in runs:
            title = f"{run.label}, " if len(runs) > 1 else ""
            train_color, val_color = (run.color, run.color) if len(runs) > 1 else (0, 1)
            lines += lines_of(run, name, f"{title}training", train_color, smooth=True)
            lines += lines_of(run, f"val/{name}", f"{title}validation", val_color, smooth=False, dashed=len(runs) > 1)
        shown = name.removeprefix(LOSS)
        charts.append(_chart("total loss" if shown == "total" else f"loss {shown}", lines, runs, low=0.0))
    return charts


def _rates(runs: Sequence[RunAnalysis]) -> list[Markup]:
    charts = []
    for key, title in (("lr", "learning rate"), ("grad_norm", "norm of the gradients")):
        lines = [
            line
            for run in runs
            for line in lines_of(run, key, run.label if len(runs) > 1 else title, run.color, smooth=key != "lr")
        ]
        if lines:
            charts.append(_chart(title, lines, runs, low=0.0))
    return charts


def _validation(runs: Sequence[RunAnalysis]) -> list[Markup]:
    charts = []
    for kind, word in (("segm", "masks"), ("bbox", "boxes")):
        lines = []
        for run in runs:
            for i, name in enumerate(AP_NAMES[: 3 if len(runs) == 1 else 1]):
                label = run.label if len(runs) > 1 else name
                color = run.color if len(runs) > 1 else i
                lines += lines_of(run, f"{kind}/{name}", label, color, smooth=False)
        if lines:
            title = f"validation AP of {word}" if len(runs) > 1 else f"validation metrics of {word}"
            charts.append(_chart(title, lines, runs, low=0.0))
    others = [
        key
        for key in dict.fromkeys(key for run in runs for key in run.lines.keys)
        if key.startswith(("cells/", "panoptic/", "boundary/", "lvis/"))
        and not any(key.endswith(f"-{name}") for run in runs for name in run.data.classes)
    ]
    for key in others[:MOST_OTHERS]:
        lines = [
            line
            for run in runs
            for line in lines_of(run, key, run.label if len(runs) > 1 else key, run.color, smooth=False)
        ]
        charts.append(_chart(key, lines, runs, low=0.0))
    return charts


def _chart(title: str, lines: Sequence[Line], runs: Sequence[RunAnalysis], *, low: float | None) -> Markup:
    end = float(max(run.lines.last_iteration for run in runs))
    finite = [line.y[np.isfinite(line.y)] for line in lines]
    if low is not None and any(len(values) and values.min() < low for values in finite):
        low = None
    return line_chart(
        title, lines, x_label="iteration", x_range=(0.0, max(end, 1.0)), y_range=(low, None), legend=len(runs) == 1
    )
