"""Precision, recall and F1 by score, calibration, confusion, and the best thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from segkit.evaluation.score_curves import ConfusionMatrix, ScoreCurve
from segkit.report.analysis import RunAnalysis
from segkit.report.cells import Cell, head, percent, words
from segkit.report.metrics_lines import MOST_POINTS
from segkit.report.sections.base import Section, fill
from segkit.report.svg import Line, Mark, heat_map, line_chart, reliability_diagram

MOST_CLASSES = 7  # lines of classes in a chart
MOST_CELLS = 24  # classes of a confusion matrix
BACKGROUND = "background"


def section(runs: Sequence[RunAnalysis]) -> Section:
    """Curves of all runs together and of their classes, calibration, confusion, thresholds."""
    known = [run for run in runs if run.curves]
    charts = []
    if known:
        charts += [_precision_recall(known, None), _by_threshold(known)]
        charts += [_precision_recall([run], run.label if len(runs) > 1 else "") for run in known if len(run.curves) > 2]
        charts += [_f1_of_classes(run, run.label if len(runs) > 1 else "") for run in known if len(run.curves) > 2]
    charts += [_calibration(run, len(runs) > 1) for run in runs if run.calibration is not None]
    matrices = [_confusion(run, run.confusion, len(runs) > 1) for run in runs if run.confusion is not None]
    missing = [
        (run, part, run.absent[part])
        for run in runs
        for part in ("curves", "calibration", "confusion")
        if part in run.absent
    ]
    body = fill(
        "precision_recall.html", charts=charts, matrices=matrices, thresholds=_thresholds(known), missing=missing
    )
    lead = "At IoU 0.5. Each point of a curve is a score threshold."
    return Section("scores", "Scores", "Precision, recall and scores", body, lead if known else "")


def thinned_curve(curve: ScoreCurve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds, precision and recall [N] of a curve, at most MOST_POINTS, by rising recall.

    Points are taken evenly over recall and over the thresholds, so that neither end of either axis is thin.
    """
    n = len(curve.thresholds)
    if n <= MOST_POINTS:
        return curve.thresholds, curve.precision, curve.recall
    half = MOST_POINTS // 2
    by_recall = np.searchsorted(curve.recall, np.linspace(curve.recall[0], curve.recall[-1], half)).clip(0, n - 1)
    falling = np.linspace(curve.thresholds[0], curve.thresholds[-1], half)
    by_score = np.searchsorted(-curve.thresholds, -falling).clip(0, n - 1)
    chosen = np.unique(np.concatenate([[0, n - 1], by_recall, by_score]))
    return curve.thresholds[chosen], curve.precision[chosen], curve.recall[chosen]


def at_threshold(curve: ScoreCurve, threshold: float | None) -> tuple[float, float, float] | None:
    """Precision, recall and F1 at a score threshold; None without detections."""
    if threshold is None or not len(curve.thresholds):
        return None
    position = int(np.searchsorted(-curve.thresholds, -threshold, side="right")) - 1
    if position < 0:
        return None
    return float(curve.precision[position]), float(curve.recall[position]), float(curve.f1[position])


def _precision_recall(runs: Sequence[RunAnalysis], label: str | None) -> Markup:
    """Of all classes, one line a run (``label`` None); or of the classes of one run."""
    lines, marks = [], []
    for run in runs:
        chosen = run.curves[:1] if label is None else run.curves[1 : MOST_CLASSES + 1]
        for i, curve in enumerate(chosen):
            _, precision, recall = thinned_curve(curve)
            name, color = (
                (run.label if len(runs) > 1 else "all classes", run.color) if label is None else (curve.name, i)
            )
            lines.append(Line(name, recall, precision, color, run.css if label is None else ""))
            found = at_threshold(curve, curve.best_threshold)
            if found is not None and label is None:
                marks.append(
                    Mark(
                        found[1],
                        found[0],
                        f"score {curve.best_threshold:.2f}" if len(runs) == 1 else "",
                        color,
                        run.css,
                    )
                )
    title = "Precision and recall, best threshold marked"
    if label is not None:
        left = (
            f", the first {MOST_CLASSES} of {len(runs[0].curves) - 1}" if len(runs[0].curves) - 1 > MOST_CLASSES else ""
        )
        title = f"Precision and recall of the classes{left}{': ' + label if label else ''}"
    return line_chart(
        title,
        lines,
        x_label="recall",
        y_label="precision",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        marks=marks,
        empty="no detections",
    )


def _by_threshold(runs: Sequence[RunAnalysis]) -> Markup:
    lines, marks = [], []
    for run in runs:
        curve = run.curves[0]
        thresholds, precision, recall = (values[::-1] for values in thinned_curve(curve))
        total = precision + recall
        f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
        if len(runs) == 1:
            lines += [Line("precision", thresholds, precision, 0), Line("recall", thresholds, recall, 1)]
            lines.append(Line("F1", thresholds, f1, 2))
        else:
            lines.append(Line(run.label, thresholds, f1, run.color, run.css))
        found = at_threshold(curve, curve.best_threshold)
        if found is not None and curve.best_threshold is not None:
            color = run.color if len(runs) > 1 else 2
            marks.append(
                Mark(
                    curve.best_threshold,
                    found[2],
                    f"{100 * found[2]:.1f} at {curve.best_threshold:.2f}" if len(runs) == 1 else "",
                    color,
                    run.css,
                )
            )
    title = "F1 by score threshold" if len(runs) > 1 else "Precision, recall and F1 by score threshold"
    return line_chart(
        title,
        lines,
        x_label="score threshold",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        marks=marks,
        empty="no detections",
    )


def _f1_of_classes(run: RunAnalysis, label: str) -> Markup:
    lines = []
    for i, curve in enumerate(run.curves[1 : MOST_CLASSES + 1]):
        thresholds, precision, recall = (values[::-1] for values in thinned_curve(curve))
        total = precision + recall
        f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
        lines.append(Line(curve.name, thresholds, f1, i))
    return line_chart(
        f"F1 of the classes by score threshold{': ' + label if label else ''}",
        lines,
        x_label="score threshold",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        empty="no detections",
    )


def _calibration(run: RunAnalysis, several: bool) -> Markup:
    assert run.calibration is not None
    title = f"Calibration: error {run.calibration.error:.3f}" + (f" ({run.label})" if several else "")
    return reliability_diagram(title, run.calibration, color=run.color, css=run.css)


def _confusion(run: RunAnalysis, matrix: ConfusionMatrix, several: bool) -> dict[str, Any]:
    """The matrix; of many classes those that are confused most."""
    counts, names = np.asarray(matrix.counts), [*matrix.classes, BACKGROUND]
    note = ""
    if len(matrix.classes) > MOST_CELLS:
        wrong = counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)
        kept = np.sort(np.argsort(-wrong[:-1], kind="stable")[:MOST_CELLS])
        kept = np.append(kept, len(names) - 1)
        counts, names = counts[np.ix_(kept, kept)], [names[i] for i in kept]
        note = f" (the {MOST_CELLS} of {len(matrix.classes)} classes with the most errors)"
    title = f"Confusion at IoU {matrix.iou_threshold:g}, score {matrix.score_threshold:.2f}{note}"
    if several:
        title += f": {run.label}"
    return {
        "chart": heat_map(title, counts, names, names, row_label="object", column_label="detected as"),
        "pairs": _pairs(counts, names),
    }


def _pairs(counts: np.ndarray, names: Sequence[str]) -> list[str]:
    """The most frequent confusions of two classes, in words."""
    classes = len(names) - 1
    found = [
        (int(counts[i, j]), names[i], names[j])
        for i in range(classes)
        for j in range(classes)
        if i != j and counts[i, j]
    ]
    found.sort(key=lambda item: -item[0])
    return [f"{count:,} of {first} detected as {second}" for count, first, second in found[:4]]


def _thresholds(runs: Sequence[RunAnalysis]) -> dict[str, Any] | None:
    if not runs:
        return None
    several = [words("run")] if len(runs) > 1 else []
    heads = [words("class"), *several, head("best threshold"), head("precision"), head("recall"), head("F1")]
    rows = []
    for run in runs:
        for curve in run.curves:
            found = at_threshold(curve, curve.best_threshold) or (None, None, None)
            best = curve.best_threshold
            cell = Cell("no detections", -1.0, number=True) if best is None else Cell(f"{best:.3f}", best, number=True)
            name = "all classes" if curve is run.curves[0] else curve.name
            rows.append([words(name), *([words(run.label)] if several else []), cell, *(percent(v) for v in found)])
    return {"heads": heads, "rows": rows}
