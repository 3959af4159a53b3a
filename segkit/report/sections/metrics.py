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
    "APr": "classes in 1 to 10 training images",
    "APc": "classes in 11 to 100 training images",
    "APf": "classes in more training images",
    "panoptic/PQ": "panoptic quality of exclusive masks, mean over classes: SQ times RQ",
    "panoptic/SQ": "mean IoU of the matched pairs, mean over classes",
    "panoptic/RQ": "F1 at IoU above 0.5, mean over classes",
    "lvis_segm/AP": "mean of IoU 0.5 to 0.95, of the classes that are annotated in an image",
    "lvis_bbox/AP": "mean of IoU 0.5 to 0.95, of the classes that are annotated in an image",
    "boundary/AP": "of the smaller of mask IoU and boundary IoU, mean of 0.5 to 0.95",
    "boundary/IoU": "mean boundary IoU of the found objects",
}
KINDS = {
    "segm": "masks",
    "bbox": "boxes",
    "cells": "cells",
    "panoptic": "panoptic quality",
    "boundary": "outlines",
    "lvis_segm": "masks, as in LVIS",
    "lvis_bbox": "boxes, as in LVIS",
}
OF_TRAINING = ("loss", "data", "val", "segm", "bbox")  # what is logged besides the metrics of further evaluators
OF_CLASSES = {"segm": ("AP", "AP50", "AP75"), "bbox": ("AP",), "cells": ("F1", "PQ")}
NOT_SHARES = ("best_threshold",)  # metrics that are not shown times 100
LOSS = "val/loss/"


def section(runs: Sequence[RunAnalysis]) -> Section:
    """All metrics, a column for each run.

    They are computed again from the detections; those for which that is impossible are the training's last.
    """
    measured = [run for run in runs if run.metrics]
    kinds = list(dict.fromkeys(kind_of(key) for run in measured for key in run.metrics))
    ordered = sorted(kinds, key=lambda kind: list(KINDS).index(kind) if kind in KINDS else len(KINDS))
    tables = [_kind_table(kind, measured) for kind in ordered]
    logged = _logged_tables(runs, kinds)
    missing = [(run, run.absent.get("metrics", "")) for run in runs if not run.metrics]
    notes = [
        (run, run.absent["cells"])
        for run in runs
        if run.metrics and "cells" in run.absent and "metrics" not in run.absent
    ]
    failed = [(run, run.absent["evaluators"]) for run in runs if "evaluators" in run.absent]
    body = fill(
        "metrics.html",
        several=len(runs) > 1,
        tables=[*tables, *logged],
        losses=_loss_table(runs),
        classes=_class_table(measured),
        missing=missing,
        notes=notes,
        failed=failed,
    )
    lead = "Computed again from the detections, times 100. In brackets: 95 % bootstrap intervals over images."
    return Section("metrics", "Metrics", "Metrics", body, lead if any(run.intervals for run in runs) else "")


def by_class(run: RunAnalysis, prefix: str, metrics: Mapping[str, float] | None = None) -> dict[str, float]:
    """The values of ``PREFIX-NAME`` by class name."""
    found = run.metrics if metrics is None else metrics
    return {name: found[f"{prefix}-{name}"] for name in run.data.classes if f"{prefix}-{name}" in found}


def kind_of(key: str) -> str:
    """What a metric is measured on: the part of its name before the slash; empty without one."""
    kind, slash, _ = key.partition("/")
    return kind if slash else ""


def is_of_class(key: str, runs: Sequence[RunAnalysis]) -> bool:
    """Whether a metric is that of one class, as ``segm/AP-NAME``."""
    return any(key.endswith(f"-{name}") for run in runs for name in run.data.classes)


def _kind_table(kind: str, runs: Sequence[RunAnalysis]) -> dict[str, Any]:
    keys = dict.fromkeys(key for run in runs for key in run.metrics if kind_of(key) == kind)
    rows = []
    for key in keys:
        if is_of_class(key, runs):
            continue
        rows.append([_name(key), *(_value(key, run.metrics.get(key), interval_of(run, key)) for run in runs)])
    caption = f"Metrics of {KINDS.get(kind, kind)}" if kind else "Other metrics"
    if kind == "cells":
        thresholds = sorted({f"{run.threshold:g}" for run in runs})
        caption += f", of detections that score at least {' or '.join(thresholds)}"
    return {"caption": caption, "heads": [words("metric"), *(head(run.label) for run in runs)], "rows": rows}


def _name(key: str) -> Cell:
    """The name of a metric, and what it is."""
    name = key.partition("/")[2] or key
    return Cell(name, small=MEANINGS.get(key, MEANINGS.get(name, _meaning(name))))


def _value(key: str, value: float | None, interval: Any = None) -> Cell:
    return plain(value) if key.endswith(NOT_SHARES) else percent(value, interval)


def _meaning(name: str) -> str:
    kind, _, value = name.partition("@")
    if kind == "AP" and value.startswith("score"):
        return f"of detections that score at least {value.removeprefix('score')}"
    if kind in ("AP", "image_AP") and value:
        return f"TP / (TP + FP + FN) at IoU {value}" + (", mean over images" if kind == "image_AP" else "")
    return ""


def _logged_tables(runs: Sequence[RunAnalysis], known: Sequence[str]) -> list[dict[str, Any]]:
    """Metrics that cannot be computed again, from the last lines of ``metrics.json``."""
    keys: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for run in runs for key in run.lines.keys):
        kind = kind_of(key)
        if kind and kind not in (*known, *OF_TRAINING) and not is_of_class(key, runs):
            keys.setdefault(kind, []).append(key)
    heads = [words("metric"), *(head(run.label) for run in runs)]
    return [
        {
            "caption": f"Metrics of {KINDS.get(kind, kind)}, of the training's last evaluation",
            "heads": heads,
            "rows": [[_name(key), *(_value(key, run.lines.last(key)) for run in runs)] for key in own],
        }
        for kind, own in keys.items()
    ]


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
    own = [f"{kind}/{name}" for kind, names in OF_CLASSES.items() for name in names]
    others = [
        key.removesuffix(f"-{name}")
        for run in runs
        for key in run.metrics
        if kind_of(key) not in OF_CLASSES
        for name in classes
        if key.endswith(f"-{name}")
    ]
    prefixes = [prefix for prefix in dict.fromkeys([*own, *others]) if any(by_class(run, prefix) for run in runs)]
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
