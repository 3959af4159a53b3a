"""Analyses a run: metrics, intervals, curves by score, errors."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from segkit.diagnosis.attributes import image_attributes
from segkit.diagnosis.diagnose import diagnose
from segkit.diagnosis.label_errors import find_label_errors
from segkit.diagnosis.settings import ModelSettings
from segkit.engine.finished_run import FinishedRun
from segkit.evaluation.bootstrap import bootstrap_intervals
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.evaluation.intervals import Interval
from segkit.evaluation.overlaps import has_scipy
from segkit.evaluation.score_curves import calibration, confusion_matrix, score_curves
from segkit.report.analysis import MOST_LABEL_ERRORS, ReportOptions, RunAnalysis, check_same_data, labels_of, part
from segkit.report.metrics_lines import MetricsLines
from segkit.report.run_log import RunLog, read_run_log
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
# Evaluators whose metrics the report computes itself, at its own score threshold and with intervals.
OWN_METRICS = ("COCO", "Cells", "PrecisionRecall")
COCO_ADDITIONS = ("score_thresholds", "iou_thresholds", "area_ranges")  # arguments that add metrics
NO_OBJECTS = "the validation images have no objects, so there is nothing to find"


def analyse_runs(runs: Sequence[FinishedRun], options: ReportOptions) -> list[RunAnalysis]:
    """Analyses runs that were evaluated on the same data.

    Raises:
        SegkitError: there is no run; runs have different data.
    """
    if not runs:
        raise SegkitError("a report needs at least one run")
    opened = [_opened(run, label, i) for i, (run, label) in enumerate(zip(runs, labels_of(runs), strict=True))]
    check_same_data(opened)
    analysed = [analyse(run, options) for run in opened]
    return [_with_label_errors(analysed), *analysed[1:]]


def analyse(opened: RunAnalysis, options: ReportOptions) -> RunAnalysis:
    """Computes everything that the page says about one run.

    What the data do not allow is absent, with the reason.
    """
    began = time.perf_counter()
    data, run = opened.data, opened.run
    absent: dict[str, str] = {}
    if not opened.objects:
        names = ("metrics", "cells", "intervals", "curves", "calibration", "confusion", "diagnosis", "labels")
        return dataclasses.replace(opened, metrics={}, absent=dict.fromkeys(names, NO_OBJECTS))
    found = dataclasses.replace(opened, curves=part(absent, "curves", lambda: score_curves(data)) or [])
    threshold = found.threshold
    intervals = part(absent, "intervals", lambda: _intervals(data, threshold, options)) or {}
    further = {name: interval.value for name, interval in intervals.items() if name not in opened.metrics}
    metrics = {**opened.metrics, **further}
    if not run.has_masks:
        absent["cells"] = "the detections have no masks"
    elif not any(name.startswith("cells/") for name in metrics):
        cells = {"name": "Cells", "score_threshold": float(threshold)}
        metrics |= part(absent, "cells", lambda: run.evaluate([cells])) or {}
    others = part(absent, "evaluators", lambda: _of_evaluators(run)) or {}
    metrics |= {name: value for name, value in others.items() if name not in metrics}  # COCO's with its own IoUs stay
    settings = ModelSettings.from_config(run.config)
    attributes = image_attributes(run.dataset, options.attributes)
    found = dataclasses.replace(
        found,
        metrics=metrics,
        intervals=intervals,
        calibration=part(absent, "calibration", lambda: calibration(data)),
        confusion=part(absent, "confusion", lambda: confusion_matrix(data, threshold)),
        diagnosis=part(
            absent, "diagnosis", lambda: diagnose(data, settings, score_threshold=threshold, attributes=attributes)
        ),
        absent=absent,
    )
    logger.info("%s: analysed in %.1f s", found.label, time.perf_counter() - began)
    return found


def _with_label_errors(runs: Sequence[RunAnalysis]) -> RunAnalysis:
    """The first run with the label errors that all runs show together."""
    first = runs[0]
    absent = dict(first.absent)
    if "labels" in absent:
        return first
    same = [run.data for run in runs if run.iou_type == first.iou_type]
    found = part(absent, "labels", lambda: find_label_errors(same, limit=MOST_LABEL_ERRORS + 1))
    return dataclasses.replace(first, label_errors=found or (), absent=absent)


def _opened(run: FinishedRun, label: str, color: int) -> RunAnalysis:
    """The run with its files, overlaps and COCO's metrics, which take one pass over the images."""
    metrics = run.evaluate([{"name": "COCO", "iou_types": run.iou_types}])
    log = read_run_log(run.path) if run.path.is_dir() else RunLog()
    return RunAnalysis(
        run=run,
        label=label,
        color=color,
        data=run.overlaps(),
        lines=MetricsLines(run.metrics),
        log=log,
        metrics=metrics,
        intervals={},
        curves=(),
        calibration=None,
        confusion=None,
        diagnosis=None,
    )


def _of_evaluators(run: FinishedRun) -> dict[str, float]:
    """Metrics of the configured evaluators that the report does not know, and of COCO's with further arguments."""
    specs: list[Mapping[str, Any]] = []
    for spec in run.evaluators:
        if spec["name"] == "COCO" and any(spec.get(key) for key in COCO_ADDITIONS):
            specs.append({**spec, "iou_types": run.iou_types})
        elif spec["name"] not in OWN_METRICS:
            specs.append(spec)
    return run.evaluate(specs) if specs else {}


def _intervals(data: DatasetOverlaps, threshold: float, options: ReportOptions) -> dict[str, Interval]:
    if not options.resamples:
        raise SegkitError("no resamples were asked for")
    return bootstrap_intervals(
        data,
        resamples=options.resamples,
        seed=options.seed,
        score_threshold=threshold,
        cells_threshold=threshold if data.iou_type == "segm" and has_scipy() else None,
    )
