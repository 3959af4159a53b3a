"""Whether one run is better than another, by a paired bootstrap over the same images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segkit.diagnosis.comparison import Comparison, Difference, RunGroup, compare_runs
from segkit.evaluation.overlaps import has_scipy
from segkit.report.analysis import ReportOptions, RunAnalysis, common_iou_type, part
from segkit.report.cells import Cell, head, words
from segkit.report.sections.base import Section, fill
from segkit.report.svg import IntervalRow, interval_chart

HEADLINE = ("AP", "AP50", "F1")  # whose differences are said in sentences
CELLS_THRESHOLD = 0.5  # the same for all runs
LEAST_RESAMPLES = 200  # for each run but the first: with few, no p is low enough once it is corrected for their number


def section(runs: Sequence[RunAnalysis], options: ReportOptions) -> Section:
    """Sentences and charts of the headline metrics; a table of all differences."""
    absent: dict[str, str] = {}
    comparison = None
    if not options.resamples:
        absent["comparison"] = "no resamples were asked for"
    elif not runs[0].objects:
        absent["comparison"] = "the validation images have no objects"
    else:
        comparison = part(absent, "comparison", lambda: _compare(runs, options))
    kind = common_iou_type(runs)
    shown = [] if comparison is None else [one for one in comparison.differences if _is_headline(one, kind)]
    body = fill(
        "comparison.html",
        verdicts=[(one, _css(one)) for one in shown],
        charts=[] if comparison is None else _charts(comparison, runs, kind),
        table=None if comparison is None else _table(comparison),
        absent=absent.get("comparison", ""),
    )
    lead = (
        f"Differences from {runs[0].label}, with paired bootstrap intervals over the same images. They say what other images "
        "would change, and nothing about another training with another seed."
    )
    return Section("comparison", "Comparison", "Which run is better", body, lead if comparison is not None else "")


def _compare(runs: Sequence[RunAnalysis], options: ReportOptions) -> Comparison:
    kind = common_iou_type(runs)
    return compare_runs(
        [RunGroup(run.label, {run.label: run.run.overlaps(kind)}) for run in runs],
        resamples=max(options.resamples, LEAST_RESAMPLES * (len(runs) - 1)),
        seed=options.seed,
        cells_threshold=CELLS_THRESHOLD if kind == "segm" and has_scipy() else None,
    )


def _is_headline(difference: Difference, kind: str) -> bool:
    return difference.metric in [f"{kind}/{name}" for name in HEADLINE]


def _css(difference: Difference) -> str:
    return {"better": "good", "worse": "bad"}.get(difference.verdict, "note")


def _charts(comparison: Comparison, runs: Sequence[RunAnalysis], kind: str) -> list[Any]:
    """The differences of the headline metrics, one chart a metric."""
    colors = {run.label: run for run in runs}
    charts = []
    for name in HEADLINE:
        rows = [
            IntervalRow(
                one.second, one.interval.value, one.interval.low, one.interval.high, colors[one.second].color,
                colors[one.second].css,
            )
            for one in comparison.differences
            if one.metric == f"{kind}/{name}"
        ]  # fmt: skip
        if rows:
            charts.append(interval_chart(f"Difference of {kind}/{name} from {runs[0].label}", rows, zero=True))
    return charts


def _table(comparison: Comparison) -> dict[str, Any]:
    heads = [words("metric"), words("run"), head("difference"), head("interval"), head("p"), words("verdict")]
    rows = []
    for one in comparison.differences:
        inner = one.interval
        rows.append(
            [
                words(one.metric),
                words(one.second),
                Cell(f"{100 * inner.value:+.1f}", inner.value, number=True),
                Cell(f"[{100 * inner.low:.1f}, {100 * inner.high:.1f}]", inner.low, number=True),
                Cell(f"{one.adjusted_p:.3g}", one.adjusted_p, number=True),
                words(one.verdict),
            ]
        )
    return {"heads": heads, "rows": rows}
