"""Whether one run is better than another."""

from __future__ import annotations

from collections.abc import Sequence

from segkit.report.analysis import ReportOptions, RunAnalysis
from segkit.report.sections.base import Section, fill


def section(runs: Sequence[RunAnalysis], options: ReportOptions) -> Section:
    """Differences of the metrics with intervals, and sentences about them."""
    body = fill("comparison.html", rows=[], sentences=[])
    return Section("comparison", "Comparison", "Which run is better", body)
