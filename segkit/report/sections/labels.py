"""Annotations that are probably wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from segkit.data.formats.image_names import image_names
from segkit.diagnosis.label_errors import KINDS, LabelError
from segkit.report.analysis import MOST_LABEL_ERRORS, RunAnalysis
from segkit.report.cells import Cell, head, words
from segkit.report.sections.base import Section, fill
from segkit.report.svg import Bar, bar_chart

SHOWN = 25  # errors in the table


def section(runs: Sequence[RunAnalysis]) -> Section:
    """The most probable label errors, found by all runs together."""
    first = runs[0]
    found = first.label_errors
    names = dict(zip(first.run.dataset.image_ids, image_names(first.run.dataset), strict=True))
    kinds: dict[str, int] = {}
    for error in found:
        kinds[error.kind] = kinds.get(error.kind, 0) + 1
    body = fill(
        "labels.html",
        heads=[head("rank"), words("image"), words("what"), head("score"), words("why")],
        rows=[_row(i, error, names) for i, error in enumerate(found[:SHOWN])],
        kinds=_chart(kinds, len(found)),
        shown=min(SHOWN, len(found)),
        absent=first.absent.get("labels", ""),
    )
    lead = "What the detections speak against. Look at them before the next training: segkit dataset label-errors lists all."
    return Section("labels", "Labels", "Annotations that are probably wrong", body, lead if found else "")


def _chart(kinds: Mapping[str, int], total: int) -> Markup:
    ordered = sorted(kinds.items(), key=lambda item: -item[1])
    rows = [(kind.replace("_", " "), [Bar(float(number), f"{number:,}", 6)]) for kind, number in ordered]
    counted = f"more than {MOST_LABEL_ERRORS:,}" if total > MOST_LABEL_ERRORS else f"{total:,}"
    return bar_chart(f"Annotations that are probably wrong: {counted}", rows, empty="none")


def _row(i: int, error: LabelError, names: dict[int, str]) -> list[Cell]:
    where = "" if error.object is None else f"object {error.object}"
    return [
        Cell(str(i + 1), float(i + 1), number=True),
        Cell(names.get(error.image_id, str(error.image_id)), small=where),
        words(KINDS.get(error.kind, error.kind.replace("_", " "))),
        Cell(f"{error.score:.2f}", error.score, number=True),
        words(error.reason),
    ]
