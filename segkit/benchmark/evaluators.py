"""Time and peak memory of segkit's evaluators on one scene."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from segkit.benchmark.evaluation_scene import Scene
from segkit.benchmark.options import Options
from segkit.benchmark.peak_memory import peak_memory
from segkit.benchmark.report import OWN, Report, Row
from segkit.benchmark.sides import Side, measure_work
from segkit.evaluation.build import build_from_specs
from segkit.registry import EVALUATOR_REGISTRY
from segkit.structures.sample import Batch

# Evaluators at one score threshold get all detections.
SETTINGS: dict[str, dict[str, Any]] = {name: {"score_threshold": 0.0} for name in ("Cells", "Panoptic")}


def evaluator_names() -> list[str]:
    """Names of segkit's own evaluators, the evaluator COCO first."""
    own = [name for name, component in EVALUATOR_REGISTRY if component.__module__.startswith("segkit.")]
    return sorted(own, key=lambda name: (name != "COCO", name))


def evaluated(scenes: Sequence[Scene], names: Sequence[str], num_classes: int, limit: int) -> dict[str, float]:
    """The metrics of some evaluators, which process image after image."""
    evaluators = build_from_specs(
        [{"name": name, **SETTINGS.get(name, {})} for name in names],
        classes=[f"class{k + 1}" for k in range(num_classes)],
        category_ids=list(range(1, num_classes + 1)),
        max_detections=limit,
    )
    for scene in scenes:
        found = scene.found.to("cpu")  # new detections, so that nothing is left of an earlier run
        for evaluator in evaluators:
            evaluator.process(Batch([scene.sample]), [found])
    metrics: dict[str, float] = {}
    for evaluator in evaluators:
        metrics |= evaluator.evaluate()
    return metrics


def measure_evaluators(report: Report, scenes: Sequence[Scene], options: Options, num_classes: int, limit: int) -> None:
    """Adds rows: each evaluator but COCO, all together, and their peak memory."""
    names = evaluator_names()
    groups = {f"evaluator {name}": [name] for name in names if name != "COCO"}
    groups[f"all {len(names)} evaluators, one pass"] = names
    assert options.runs
    for work, members in groups.items():
        side = Side(OWN, partial(evaluated, scenes, members, num_classes, limit))
        measure_work(report, work, {OWN: side}, runs=options.runs, device=torch.device("cpu"))
    if not options.memory:
        return
    peak = peak_memory("evaluate", OWN, options, Path())
    if isinstance(peak, str):
        report.notes.append(f"no figure for the memory of all evaluators: {peak}")
        return
    report.rows.append(Row("peak memory of all evaluators", "MB", {OWN: peak / 1e6}))
    report.notes.append("peak memory: of a process by itself, with the scene, beyond the libraries that it has loaded")
