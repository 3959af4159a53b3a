"""The plots: what is drawn where, what is said without values, and that all texts are escaped."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from segkit.evaluation.score_curves import Calibration
from segkit.report.svg import (
    Bar,
    IntervalRow,
    Line,
    Mark,
    bar_chart,
    heat_map,
    interval_chart,
    line_chart,
    reliability_diagram,
)
from segkit.report.svg.elements import significant
from segkit.report.svg.scales import Scale, linear_scale, linear_ticks, tick_text

EVIL = "<script>alert('x')</script>&\"c"


def parsed(markup) -> ElementTree.Element:
    return ElementTree.fromstring(str(markup))


def found(markup, tag: str, css: str = "") -> list[ElementTree.Element]:
    return [e for e in parsed(markup).iter(tag) if not css or css in (e.get("class") or "").split()]


def test_ticks_are_round():
    assert linear_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert linear_ticks(-3, 12) == [0, 5, 10]
    assert [tick_text(v) for v in (0, 0.25, 1500, 20000, 2e6, 2e-5)] == ["0", "0.25", "1500", "20k", "2M", "2e-5"]


@pytest.mark.parametrize("values", [[], [np.nan], [3.0], [0.0, 0.0], [-2.0, 5.5], [1e-9, 2e-9], [1e12]])
def test_every_value_is_on_a_linear_scale(values):
    scale = linear_scale(np.array(values), 200.0, 10.0)
    assert scale.low < scale.high
    for value in np.array(values)[np.isfinite(values)]:
        assert scale.low <= value <= scale.high and 10 <= scale(value) <= 200
    assert float(scale(scale.low)) == 200 and float(scale(scale.high)) == 10


def test_values_beyond_a_scale_are_at_its_ends():
    assert Scale(0, 2, 10, 20)(np.array([-1.0, 1.0, 5.0])).tolist() == [10, 15, 20]


def test_a_line_is_where_its_values_are():
    chart = line_chart("t", [Line("a", np.array([0, 5, 10]), np.array([0.0, 1.0, 0.5]))], x_label="x", y_range=(0, 1))
    (path,) = found(chart, "path")
    points = [tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([\d. ]+)", path.get("d"))]
    assert points == [(44, 198), (207, 8), (370, 103)]
    assert json.loads(path.get("data-xs")) == [0, 5, 10] and json.loads(path.get("data-ys")) == [0, 1, 0.5]
    assert len(found(chart, "circle")) == 3  # few points have dots
    assert found(chart, "svg")[0].get("data-x") == "0 10 44 370"


def test_the_readout_has_exact_iterations():
    chart = line_chart("t", [Line("a", np.array([1_234_567, 2_000_001]), np.array([0.1, 0.2]))], x_label="iteration")
    (path,) = found(chart, "path")
    assert json.loads(path.get("data-xs")) == [1_234_567, 2_000_001]


def test_a_missing_value_interrupts_the_line():
    y = np.array([1.0, np.nan, 2.0, 3.0])
    chart = line_chart("t", [Line("a", np.arange(4), y)], x_label="x")
    (path,) = found(chart, "path")
    assert path.get("d").count("M") == 2 and json.loads(path.get("data-ys")) == [1, None, 2, 3]


def test_lines_without_values_are_said_to_be_empty():
    chart = line_chart("t", [Line("a", np.zeros(0), np.zeros(0))], x_label="x", empty="no detections")
    assert "no detections" in found(chart, "text", "none")[0].text and not found(chart, "path")


def test_names_are_escaped_everywhere():
    line = Line(EVIL, np.arange(3), np.arange(3.0))
    charts = [
        line_chart(EVIL, [line, line], x_label=EVIL, y_label=EVIL, marks=[Mark(1, 1, EVIL)]),
        bar_chart(EVIL, [(EVIL, [Bar(1.0, EVIL)])], description=EVIL),
        heat_map(EVIL, np.ones((2, 2), int), [EVIL, "b"], [EVIL, "b"], row_label=EVIL, column_label=EVIL),
        interval_chart(EVIL, [IntervalRow(EVIL, 0.4, 0.3, 0.5)]),
    ]
    for chart in charts:
        assert "<script" not in str(chart)
        assert not found(chart, "script") and parsed(chart).find("svg/title").text == EVIL
        assert parsed(chart).find("svg/desc").text


def test_bars_are_as_long_as_their_values():
    rows = [("a", [Bar(0.5, "50"), Bar(None, "nothing to measure")]), ("b", [Bar(1.0, "100", low=0.8, high=1.1)])]
    chart = bar_chart("t", rows, highest=1.0)
    assert [float(r.get("width")) for r in found(chart, "rect")] == [116, 232]
    assert len(found(chart, "line", "whisker")) == 1 and "nothing to measure" in "".join(parsed(chart).itertext())
    assert "no classes" in "".join(parsed(bar_chart("t", [], empty="no classes")).itertext())


def test_cells_are_as_strong_as_their_share_of_the_row():
    counts = np.array([[30, 10], [0, 0]])
    chart = heat_map("t", counts, ["a", "b"], ["a", "b"], row_label="object", column_label="detected as")
    styles = [r.get("style") for r in found(chart, "rect")]
    assert styles == ["--share:75%", "--share:25%", "--share:0%", "--share:0%"]
    assert len(found(chart, "g", "same")) == 2 and len(found(chart, "g", "zero")) == 2
    large = heat_map("t", np.ones((40, 40), int), ["a"] * 40, ["b"] * 40, row_label="r", column_label="c")
    assert len(found(large, "g", "cell")) == 1600


def test_intervals_and_bins_without_values_are_skipped():
    rows = [IntervalRow("a", 0.4, 0.3, 0.5), IntervalRow("b", np.nan, np.nan, np.nan)]
    chart = interval_chart("t", rows)
    assert len(found(chart, "circle")) == 1 and "nothing to measure" in "".join(parsed(chart).itertext())
    edges = np.linspace(0, 1, 3)
    bins = Calibration(edges, np.array([4, 0]), np.array([0.2, np.nan]), np.array([0.5, np.nan]), 0.3)
    assert len(found(reliability_diagram("t", bins), "circle")) == 1
    empty = Calibration(edges, np.zeros(2, int), np.full(2, np.nan), np.full(2, np.nan), 0.0)
    assert "no detections" in "".join(parsed(reliability_diagram("t", empty)).itertext())


def test_significant_digits():
    assert [significant(v) for v in (0, 12, 12345.6, 0.12345, np.nan)] == ["0", "12", "12,346", "0.123", "-"]
