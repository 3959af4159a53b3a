"""Plots as inline SVG: line charts, bars, heat maps, reliability diagrams, intervals.

Each function returns the markup of one ``<figure>``. Colours are the page's CSS variables, so that a plot follows its
light and dark theme; texts are escaped.
"""

from __future__ import annotations

from segkit.report.svg.bars import Bar, bar_chart
from segkit.report.svg.heat_map import heat_map
from segkit.report.svg.intervals import IntervalRow, interval_chart
from segkit.report.svg.line_chart import Line, Mark, line_chart
from segkit.report.svg.reliability import reliability_diagram

__all__ = [
    "Bar",
    "IntervalRow",
    "Line",
    "Mark",
    "bar_chart",
    "heat_map",
    "interval_chart",
    "line_chart",
    "reliability_diagram",
]
