"""Metrics of parts of the data: by size, crowding, class, attribute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segkit.diagnosis.findings import Slice
from segkit.report.analysis import RunAnalysis
from segkit.report.cells import count, head, percent, words
from segkit.report.sections.base import Section, fill
from segkit.report.svg import Bar, bar_chart

MOST_ROWS = 24  # parts in the chart of a group; the table has all


def section(runs: Sequence[RunAnalysis]) -> Section:
    """A chart of AP and a table for each way to divide the data."""
    diagnosed = [run for run in runs if run.diagnosis is not None and run.diagnosis.slices]
    groups = list(dict.fromkeys(part.group for run in diagnosed for part in _slices(run)))
    charts = [_chart(group, diagnosed) for group in groups]
    tables = [_table(group, diagnosed) for group in groups]
    body = fill("slices.html", charts=charts, tables=tables, absent=_reason(runs) if not groups else "")
    lead = "The same metrics on parts of the validation data. A part with few objects says little."
    return Section("slices", "Slices", "Where it is good and where not", body, lead if groups else "")


def _reason(runs: Sequence[RunAnalysis]) -> str:
    reasons = [run.absent["diagnosis"] for run in runs if "diagnosis" in run.absent]
    return f"There are no slices: {reasons[0]}." if reasons else "There are no slices of the data."


def _slices(run: RunAnalysis) -> Sequence[Slice]:
    assert run.diagnosis is not None
    return run.diagnosis.slices


def _of_group(run: RunAnalysis, group: str) -> dict[str, Slice]:
    return {part.name: part for part in _slices(run) if part.group == group}


def _first_metric(part: Slice) -> float | None:
    return part.metrics.get("AP", next(iter(part.metrics.values()), None))


def _chart(group: str, runs: Sequence[RunAnalysis]) -> Any:
    names = list(dict.fromkeys(name for run in runs for name in _of_group(run, group)))
    rows = []
    for name in names[:MOST_ROWS]:
        bars = []
        for run in runs:
            part = _of_group(run, group).get(name)
            value = None if part is None else _first_metric(part)
            text = "nothing to measure" if value is None else f"{100 * value:.1f}"
            if part is not None and len(runs) == 1 and value is not None:
                text += f" ({part.objects:,})"
            bars.append(Bar(value, text, run.color, run.css))
        rows.append((name, bars))
    more = f" (the first {MOST_ROWS} of {len(names)})" if len(names) > MOST_ROWS else ""
    brackets = "" if len(runs) > 1 else ", objects in brackets"
    return bar_chart(f"AP by {group}{brackets}{more}", rows, highest=1.0)


def _table(group: str, runs: Sequence[RunAnalysis]) -> dict[str, Any]:
    parts = [(run, part) for run in runs for part in _of_group(run, group).values()]
    metrics = list(dict.fromkeys(name for _, part in parts for name in part.metrics))
    several = [words("run")] if len(runs) > 1 else []
    heads = [words(group), *several, head("images"), head("objects"), *map(head, metrics)]
    rows = [
        [
            words(part.name),
            *([words(run.label)] if several else []),
            count(part.images),
            count(part.objects),
            *(percent(part.metrics.get(name)) for name in metrics),
        ]
        for run, part in parts
    ]
    return {"group": group, "heads": heads, "rows": rows}
