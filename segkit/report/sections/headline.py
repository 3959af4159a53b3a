"""The head of the page: what the runs are, how good they are, and what to try next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from segkit.report.analysis import RunAnalysis, common_iou_type
from segkit.report.cells import Cell, bounds, count, head, percent, words
from segkit.report.sections.base import Section, fill
from segkit.report.sections.errors import costly_findings
from segkit.report.svg import IntervalRow, interval_chart
from segkit.utils.errors import counted, first_few

MOST_TILES = 6
COSTLY = 3  # findings in the head


@dataclass(frozen=True)
class Tile:
    """One metric in large letters."""

    name: str
    value: str
    interval: str
    meaning: str


def section(runs: Sequence[RunAnalysis], examples: Collection[str]) -> Section:
    """The first section; its markup has the page's heading.

    Args:
        runs: the runs.
        examples: ids of groups of the gallery, to which cards link.
    """
    several = len(runs) > 1
    body = fill(
        "headline.html",
        runs=runs,
        several=several,
        sentences=[sentence(run) for run in runs],
        tiles=[] if several else tiles(runs[0]),
        table=_table(runs) if several else None,
        intervals=_interval_chart(runs) if several else None,
        findings=[(run, costly_findings(run, examples)[: 1 if several else COSTLY]) for run in runs],
        absent=[(run, run.absent["metrics"]) for run in runs if "metrics" in run.absent],
    )
    return Section("summary", "Summary", "Summary", body)


def sentence(run: RunAnalysis) -> str:
    """What a run is, in a sentence: model, data, length, date."""
    images, classes = len(run.data.images), run.data.classes
    on = (
        f"{counted(images, 'validation image')}, {counted(run.objects, 'object')} of "
        f"{counted(len(classes), 'class', 'es')} ({first_few(classes, 6)}), {counted(run.detections, 'detection')}"
    )
    if run.run.config is None:
        return f"Detections of a results file on {on}."
    parts = [f"{_model(run.run.config.model)} on {on}."]
    lines = run.lines
    if len(lines):
        epoch = lines.last("epoch")
        epochs = "" if epoch is None else f" ({epoch:.1f} epochs)"
        parts.append(f"Trained for {lines.last_iteration:,} iterations{epochs}")
        parts[-1] += f" in {run.log.duration}" if run.log.duration else ""
        runs_on = dict(run.log.environment).get("runs on", "")
        parts[-1] += f" on {runs_on.partition(':')[0] if runs_on.startswith('cpu') else runs_on}" if runs_on else ""
        parts[-1] += "."
    if run.log.ended:
        parts.append(f"Last entry of the log: {run.log.ended}.")
    return " ".join(parts)


def tiles(run: RunAnalysis) -> list[Tile]:
    """The metrics in large letters, with their intervals."""
    metrics, kind = run.metrics, run.iou_type
    known = [
        (f"{kind}/AP", "AP", f"{run.overlap}, mean of IoU 0.5 to 0.95"),
        (f"{kind}/AP50", "AP50", f"{run.overlap}, IoU 0.5"),
        (f"{kind}/AP75", "AP75", f"{run.overlap}, IoU 0.75"),
        ("cells/F1", "F1", f"IoU 0.5, score from {run.threshold:g}"),
        ("cells/PQ", "PQ", f"IoU 0.5, score from {run.threshold:g}"),
        ("cells/AP@0.5:0.95", "AP (cells)", "TP / (TP + FP + FN), mean of IoU 0.5 to 0.95"),
        (f"{kind}/AR", "AR", "recall, mean of IoU 0.5 to 0.95"),
    ]
    found = [
        Tile(name, f"{100 * metrics[key]:.1f}", bounds(interval_of(run, key)), meaning)
        for key, name, meaning in known
        if key in metrics
    ]
    return found[:MOST_TILES]


def interval_of(run: RunAnalysis, key: str) -> Any:
    """The interval of a metric, by its whole name or by that after ``segm/``; None without one."""
    kind, _, name = key.partition("/")
    if key in run.intervals:
        return run.intervals[key]
    return run.intervals.get(name) if kind == run.iou_type else None


def _model(model: Any) -> str:
    """The model's name and its backbone's, as ``GeneralizedRCNN with ConvNeXt (atto)``."""
    backbone = model.get("backbone")
    if backbone is None:
        return str(model["name"])
    kind = backbone.get("arch", backbone.get("depth", backbone.get("model", "")))
    return f"{model['name']} with {backbone['name']}" + (f" ({kind})" if kind not in ("", None) else "")


def _table(runs: Sequence[RunAnalysis]) -> dict[str, Any]:
    kinds = list(dict.fromkeys([common_iou_type(runs), *(run.iou_type for run in runs)]))
    keys = [f"{kind}/{name}" for kind in kinds for name in ("AP", "AP50", "AP75", "AR")] + ["cells/F1", "cells/PQ"]
    keys = [key for key in keys if any(key in run.metrics for run in runs)]
    heads = [words("run"), *(head(key) for key in keys), head("detections"), head("best threshold")]
    rows = [
        [
            words(run.label),
            *(percent(run.metrics.get(key), interval_of(run, key)) for key in keys),
            count(run.detections),
            Cell(f"{run.threshold:g}", run.threshold, number=True),
        ]
        for run in runs
    ]
    return {"heads": heads, "rows": rows}


def _interval_chart(runs: Sequence[RunAnalysis]) -> Any:
    """AP of the runs that have masks, or boxes, as the first one."""
    first = runs[0]
    rows, level = [], 0.0
    for run in runs:
        interval = interval_of(run, f"{first.iou_type}/AP")
        if interval is not None:
            level = interval.level
            rows.append(IntervalRow(run.label, interval.value, interval.low, interval.high, run.color, run.css))
    return interval_chart(f"AP of {first.overlap} with its {100 * level:.0f} % interval", rows) if rows else None
