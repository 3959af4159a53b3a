"""Tables: rows, sentences, and their files."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from segkit.study.plan import Plan, PlannedRun
from segkit.study.plots import plot_tables
from segkit.study.run import compared_metrics
from segkit.study.state import Result
from segkit.study.statistics import Difference
from segkit.study.study_file import RowEntry, StudyDescription, StudyFile, TableEntry
from segkit.study.table_files import comma_separated, latex, markdown
from segkit.study.tables import difference_sentence, make_tables
from segkit.utils.errors import SegkitError

HOSTILE = "<script>|a_b$*\\&%#=\n~^{}"


def tables(values, *, metric="segm/AP", label=HOSTILE, by_images=None, seeds=(0, 1, 2)):
    """One table of variants, by the values of their seeds; the first is the baseline."""
    runs = [PlannedRun(name, seed, Path(name), None) for seed in seeds for name in values]
    rows = tuple(
        RowEntry(run=name, label=label if i == 1 else None, published=0.4 if i else None)
        for i, name in enumerate(values)
    )
    settings = StudyFile(output="out", metric=metric)
    study = StudyDescription("s.yaml", ".", settings, {}, {"t_1": TableEntry(title="=T|", rows=rows)}, None)
    results = {(name, s): Result(1, {metric: v}) for name, found in values.items() for s, v in found.items()}
    return make_tables(study, Plan(Path("out"), {}, runs), results, lambda run, base, metric: by_images)


def test_rows():
    (table,) = tables({"a": {0: 0.1, 1: 0.2, 2: 0.3}, "b": {0: 0.2, 1: 0.301, 2: 0.402}, "c": {0: 0.1}, "d": {}})
    a, b, c, d = table.rows
    assert a.mean == pytest.approx(0.2) and a.difference is None and a.sentence == ""
    assert (
        b.difference.value == pytest.approx(0.101) and b.difference.shown and "is better than a by 0.101" in b.sentence
    )
    assert c.interval is None and c.sentence.startswith("No difference shown between c and a: 0.000 (one seed")
    assert d.mean is None and d.sentence == ""
    assert table.notes == ["Not finished: c (1 of 3 seeds), d (0 of 3 seeds)."]


def test_one_seed_is_compared_over_images():
    found = Difference(0.05, 0.01, 0.09, 46, "images")
    (table,) = tables({"a": {0: 0.1}, "b": {0: 0.15}}, by_images=found, seeds=(0,), label="b")
    assert table.rows[1].sentence == (
        "b is better than a by 0.050 (95 % interval +0.010 to +0.090 over 46 images; another seed may differ)."
    )
    assert "| +0.050 | – | +0.010 to +0.090 |" in markdown("s", [table], {})


def test_sentences():
    worse = Difference(-0.05, -0.09, -0.01, 3)
    assert difference_sentence("B", "A", "segm/AP", worse) == (
        "B is worse than A by 0.050 (95 % interval -0.090 to -0.010 over 3 seeds)."
    )
    assert "B is better than A" in difference_sentence("B", "A", "val/loss/total", worse)
    assert difference_sentence("B", "A", "segm/AP", Difference(0.01, -0.02, 0.04, 2)) == (
        "No difference shown between B and A: +0.010 (95 % interval -0.020 to +0.040 over 2 seeds)."
    )
    # Seeds that agree show nothing if the images do not.
    images = Difference(-0.05, -0.11, 0.01, 46, "images")
    assert difference_sentence("B", "A", "segm/AP", worse, images) == (
        "No difference shown between B and A: -0.050 (95 % interval -0.090 to -0.010 over 3 seeds, -0.110 to +0.010 over 46 "
        "images and the seeds)."
    )
    assert "worse" in difference_sentence("B", "A", "segm/AP", worse, Difference(-0.05, -0.11, -0.01, 46, "images"))


def test_all_text_is_escaped():
    (table,) = tables({"=a": {0: 0.1, 1: 0.2}, "b": {0: 0.2, 1: 0.3}})
    text = markdown(HOSTILE, [table], {"x": HOSTILE})
    assert "<script>" not in text and all(line.count(" | ") == 7 for line in text.splitlines() if line.startswith("| "))
    rows = list(csv.DictReader(io.StringIO(comma_separated([table]))))
    assert (
        rows[0]["run"] == "'=a" and rows[1]["label"] == HOSTILE and float(rows[1]["difference"]) == pytest.approx(0.1)
    )
    assert rows[1]["values"] == "0:0.2 1:0.3" and rows[0]["seeds"] == "2"
    body = latex([table])
    assert r"\textless{}script\textgreater{}\textbar{}a\_b\${*}\textbackslash{}\&\%\#= \textasciitilde{}" in body
    assert r"\label{tab:t-1}" in body and body.count(r"\\") == 3


@pytest.mark.figures
def test_plots_of_hostile_labels(tmp_path):
    (table,) = tables({"a": {0: 0.1, 1: 0.2}, "b": {0: 0.2, 1: 0.3}})
    files = plot_tables([table], tmp_path / "tables")
    assert [file.name for file in files] == ["tables.png", "tables.svg"]
    assert "<script>" not in files[1].read_text() and "&lt;script&gt;" in files[1].read_text()
    assert plot_tables([tables({"a": {}})[0]], tmp_path / "none") == []


def test_plots_of_one_metric_have_the_same_axis(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr("segkit.study.plots._save", lambda figure, output: figures.append(figure))
    shown = [
        tables({"a": values, "b": {}}, metric=metric)[0]
        for metric, values in (
            ("segm/AP", {0: 0.1, 1: 0.12}),
            ("segm/AP", {0: 0.7, 1: 0.9}),
            ("val/loss/total", {0: 3}),
        )
    ]
    plot_tables(shown, tmp_path / "tables")
    first, second, loss = (axes.get_xlim() for axes in figures[0].axes)
    (row, *_) = shown[1].rows
    assert first == second != loss and first[0] < 0.1 and first[1] > row.interval.high


def test_a_metric_without_a_value():
    """An evaluation that has nothing to measure, as small objects, is finished all the same."""
    (table,) = tables({"a": {0: 0.1, 1: 0.2}, "b": {0: 0.2, 1: None}, "c": {0: None}}, label="b", seeds=(0, 1))
    assert table.rows[1].values == {0: 0.2} and table.rows[2].mean is None and table.rows[2].sentence == ""
    assert table.notes == ["Not finished: c (1 of 2 seeds).", "Evaluations without segm/AP: b, c."]


def test_published_figures_keep_their_digits():
    (table,) = tables({"a": {0: 0.1}, "b": {0: 0.2}}, label="b")
    rows = [replace(row, published=value) for row, value in zip(table.rows, (0.4, 0.405), strict=True)]
    text = markdown("s", [replace(table, rows=rows)], {})
    assert "| 0.40 |" in text and "| 0.405 |" in text


def test_runs_of_different_evaluators_have_tables_of_their_own():
    results = {("a", 0): Result(1, {"segm/AP": 0.1}), ("b", 0): Result(1, {"segm/AP": 0.2, "cells/F1": 0.7})}
    rows = (RowEntry(run="a"), RowEntry(run="b"))
    entries = {"ap": TableEntry(rows=rows), "f1": TableEntry(metric="cells/F1", rows=rows[1:])}
    study = StudyDescription("s.yaml", ".", StudyFile(output="out"), {}, entries, None)
    assert [compared_metrics(study, name) for name in "abc"] == [["segm/AP"], ["segm/AP", "cells/F1"], ["segm/AP"]]
    plan = Plan(Path("out"), {}, [PlannedRun(name, 0, Path(name), None) for name in "ab"])
    both = replace(study, tables={"f1": TableEntry(metric="cells/F1", rows=rows)})
    (table,) = make_tables(both, plan, results, lambda *args: None)
    assert table.rows[0].mean is None and table.notes == ["Evaluations without cells/F1: a."]
    with pytest.raises(SegkitError, match=r"no 'cells/F2'.*'cells/F1'"):
        make_tables(
            replace(study, tables={"f": TableEntry(metric="cells/F2", rows=rows[1:])}),
            plan,
            results,
            lambda *args: None,
        )


def test_a_metric_that_is_missing_names_the_nearest():
    with pytest.raises(SegkitError, match=r"no 'segm/AP5'.*'segm/AP50'"):
        Result(1, {"segm/AP50": 0.1}).value("segm/AP5")
