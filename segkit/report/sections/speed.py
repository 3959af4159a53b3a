"""How fast a run trains and predicts, and how much memory it takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from segkit.report.analysis import RunAnalysis
from segkit.report.cells import ABSENT, Cell, duration, head, words
from segkit.report.sections.base import Section, fill
from segkit.report.sections.curves import lines_of
from segkit.report.svg import line_chart
from segkit.report.svg.elements import significant


def section(runs: Sequence[RunAnalysis]) -> Section:
    """A table of speed and memory, and how they change over the training."""
    rows = [_row(run) for run in runs if len(run.lines) or run.log.environment]
    columns = ["run", "time", "a step", "waiting for data", "training images/s", "prediction", "peak memory"]
    heads = [words(columns[0]), *map(head, columns[1:])]
    missing = [run for run in runs if not len(run.lines) and not run.log.environment]
    charts = _charts([run for run in runs if len(run.lines)])
    body = fill("speed.html", heads=heads, rows=rows, charts=charts, missing=missing)
    return Section("speed", "Speed", "Speed and memory", body)


def _row(run: RunAnalysis) -> list[Cell]:
    steps, waits = _median(run, "step_time"), _median(run, "data_time")
    batch = None if run.run.config is None else run.run.config.data.batch_size * run.run.config.train.accumulate
    memory = run.lines.last("memory_mb") or run.log.memory_mb
    seconds = run.log.seconds_per_image
    texts = [
        run.log.duration or ABSENT,
        ABSENT if steps is None else duration(steps),
        ABSENT if steps is None or waits is None else f"{100 * waits / max(steps, 1e-9):.0f} %",
        ABSENT if steps is None or batch is None else significant(batch / max(steps, 1e-9)),
        ABSENT if seconds is None else f"{duration(seconds)} an image",
        ABSENT if memory is None else f"{memory / 1024:.2f} GiB" if memory >= 1024 else f"{memory:.0f} MiB",
    ]
    return [words(run.label), *(Cell(text, number=True) for text in texts)]


def _median(run: RunAnalysis, key: str) -> float | None:
    """Of the values after the first line, which includes the start."""
    _, values = run.lines.series(key)
    values = values[1:] if len(values) > 1 else values
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _charts(runs: Sequence[RunAnalysis]) -> list[Markup]:
    titles = {
        "step_time": ("time of a step", "s"),
        "data_time": ("waiting for data in a step", "s"),
        "memory_mb": ("memory", "MB"),
    }
    charts = []
    for key, (title, unit) in titles.items():
        lines = [
            line
            for run in runs
            for line in lines_of(run, key, run.label if len(runs) > 1 else title, run.color, smooth=key != "memory_mb")
        ]
        if not lines:
            continue
        if key != "memory_mb":  # the first step compiles and allocates, and would flatten the rest
            lines = [type(line)(line.name, line.x[1:], line.y[1:], line.color, line.css) for line in lines]
        end = float(max(run.lines.last_iteration for run in runs))
        charts.append(
            line_chart(
                title,
                lines,
                x_label="iteration",
                y_label=unit,
                x_range=(0.0, max(end, 1.0)),
                y_range=(0.0, None),
                legend=len(runs) > 1,
            )
        )
    return charts
