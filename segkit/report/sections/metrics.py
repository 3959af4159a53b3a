"""Tables of metrics: COCO's, those of cells, by class, and those that the training logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segkit.report.analysis import RunAnalysis
from segkit.report.cells import Cell, head, percent, plain, words
from segkit.report.sections.base import Section, fill
from segkit.report.sections.headline import interval_of

MEANINGS = {
    "AP": "mean of IoU 0.5 to 0.95, at the model's limit of detections",
    "AP50": "at IoU 0.5",
    "AP75": "at IoU 0.75",
    "APs": "objects under 32 x 32 pixels",
    "APm": "objects from 32 x 32 to 96 x 96 pixels",
    "APl": "larger objects",
    "AP@100": "with COCO's 100 detections an image and class",
    "AR": "recall, mean of IoU 0.5 to 0.95",
    "ARs": "recall of objects under 32 x 32 pixels",
    "ARm": "recall of objects from 32 x 32 to 96 x 96 pixels",
    "ARl": "recall of larger objects",
    "AR@100": "recall of the best 100 detections",
    "AP@0.5:0.95": "TP / (TP + FP + FN), mean of IoU 0.5 to 0.95",
    "image_AP@0.5:0.95": "the same by image, then the mean",
    "F1": "at IoU 0.5",
    "precision": "at IoU 0.5",
    "recall": "at IoU 0.5",
    "SQ": "mean IoU of the matched pairs",
    "PQ": "panoptic quality: SQ times F1",
    "dice": "object Dice",
    "AJI": "aggregated Jaccard index",
    "AJI+": "the same with pairs matched one to one",
    "split": "objects with several detections, share of the objects",
    "merged": "objects in one detection with others, share of the objects",
    "missed": "objects without a detection, share of the objects",
    "spurious": "detections without an object, share of the detections",
    "count_error": "mean error of the count in an image, relative to the mean count",
}
KINDS = {"segm": "masks", "bbox": "boxes", "cells": "cells"}
OTHER_KINDS = {"panoptic": "panoptic quality", "boundary": "boundaries", "lvis": "LVIS"}
LOSS = "val/loss/"


def section(runs: Sequence[RunAnalysis]) -> Section:
    """All metrics, a column for each run."""
    measured = [run for run in runs if run.metrics]
    tables = [_kind_table(kind, title, measured) for kind, title in KINDS.items()]
    logged = [_logged_table(kind, title, runs) for kind, title in OTHER_KINDS.items()]
    missing = [(run, run.absent.get("metrics", "")) for run in runs if not run.metrics]
    notes = [
        (run, run.absent["cells"])
        for run in runs
        if run.metrics and "cells" in run.absent and "metrics" not in run.absent
    ]
    body = fill(
        "metrics.html",
        several=len(runs) > 1,
        tables=[table for table in [*tables, *logged] if table],
        losses=_loss_table(runs),
        classes=_class_table(measured),
        missing=missing,
        notes=notes,
    )
    lead = "Computed again from the detections, times 100. In brackets: 95 % bootstrap intervals over images."
    return Section("metrics", "Metrics", "Metrics", body, lead if any(run.intervals for run in runs) else "")


def by_class(run: RunAnalysis, prefix: str, metrics: Mapping[str, float] | None = None) -> dict[str, float]:
    """The values of ``PREFIX-NAME`` by class name."""
    found = run.metrics if metrics is None else metrics
    return {name: found[f"{prefix}-{name}"] for name in run.data.classes if f"{prefix}-{name}" in found}


def _kind_table(kind: str, title: str, runs: Sequence[RunAnalysis]) -> dict[str, Any] | None:
    names = []
    for run in runs:
        ends = tuple(f"-{name}" for name in run.data.classes)
        names += [key.partition("/")[2] for key in run.metrics if key.startswith(f"{kind}/") and not key.endswith(ends)]
    names = list(dict.fromkeys(names))
    if not names:
        return None
    heads = [words("metric"), *(head(run.label) for run in runs), words("meaning")]
    rows = []
    for name in names:
        key = f"{kind}/{name}"
        values = [percent(run.metrics.get(key), interval_of(run, key)) for run in runs]
        rows.append([words(name), *values, words(MEANINGS.get(name, _meaning(name)))])
    caption = f"Metrics of {title}"
    if kind == "cells":
        thresholds = sorted({f"{run.threshold:.2f}" for run in runs})
        caption += f", of detections that score at least {' or '.join(thresholds)}"
    return {"caption": caption, "heads": heads, "rows": rows}


def _meaning(name: str) -> str:
    kind, _, value = name.partition("@")
    if kind == "AP" and value.startswith("score"):
        return f"of detections that score at least {value.removeprefix('score')}"
    if kind in ("AP", "image_AP") and value:
        return f"TP / (TP + FP + FN) at IoU {value}" + (", mean over images" if kind == "image_AP" else "")
    return ""


def _logged_table(kind: str, title: str, runs: Sequence[RunAnalysis]) -> dict[str, Any] | None:
    """Metrics of further evaluators, from the last lines of ``metrics.json``."""
    keys = list(dict.fromkeys(key for run in runs for key in run.lines.keys if key.startswith(f"{kind}/")))
    if not keys:
        return None
    heads = [words("metric"), *(head(run.label) for run in runs)]
    rows = [[words(key.partition("/")[2]), *(percent(run.lines.last(key)) for run in runs)] for key in keys]
    return {"caption": f"{title}, of the training's last evaluation", "heads": heads, "rows": rows}


def _loss_table(runs: Sequence[RunAnalysis]) -> dict[str, Any] | None:
    keys = list(dict.fromkeys(key for run in runs for key in run.lines.keys if key.startswith(LOSS)))
    if not keys:
        return None
    heads = [words("loss"), *(head(run.label) for run in runs)]
    rows = [[words(key.removeprefix(LOSS)), *(plain(run.lines.last(key), 4) for run in runs)] for key in keys]
    return {"caption": "Of the training's last evaluation, not times 100", "heads": heads, "rows": rows}


def _class_table(runs: Sequence[RunAnalysis]) -> dict[str, Any] | None:
    if not runs or len(runs[0].data.classes) < 2:
        return None
    classes = runs[0].data.classes
    prefixes = [
        prefix
        for kind, names in (("segm", ("AP", "AP50", "AP75")), ("bbox", ("AP",)), ("cells", ("F1", "PQ")))
        for prefix in (f"{kind}/{name}" for name in names)
        if any(by_class(run, prefix) for run in runs)
    ]
    objects = dict.fromkeys(classes, 0)
    for image in runs[0].data.images:
        for label in image.object_labels.tolist():
            objects[classes[label]] += 1
    heads = [words("class"), head("objects")]
    heads += [head(f"{run.label} {prefix}" if len(runs) > 1 else prefix) for prefix in prefixes for run in runs]
    rows = []
    for name in classes:
        row = [words(name), Cell(f"{objects[name]:,}", float(objects[name]), number=True)]
        for prefix in prefixes:
            for run in runs:
                row.append(percent(by_class(run, prefix).get(name), interval_of(run, f"{prefix}-{name}")))
        rows.append(row)
    return {"heads": heads, "rows": rows}
