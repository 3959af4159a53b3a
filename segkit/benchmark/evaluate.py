"""Part ``evaluate``: metrics of encoded detections, COCO's beside pycocotools and hotcoco."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segkit.benchmark.evaluation_scene import Scene, make_scenes
from segkit.benchmark.evaluators import evaluated, evaluator_names, measure_evaluators
from segkit.benchmark.hotcoco_arrays import hotcoco_metrics
from segkit.benchmark.options import Options
from segkit.benchmark.report import OWN, Report, Row
from segkit.benchmark.sides import Side, installed, measure_work
from segkit.evaluation.bootstrap import bootstrap_intervals
from segkit.evaluation.coco import CocoEvaluator
from segkit.evaluation.coco_matching import EvaluatedImage
from segkit.evaluation.image_overlaps import DatasetOverlaps, image_overlaps
from segkit.evaluation.results import coco_results
from segkit.structures.sample import Batch

DEFAULTS: dict[str, Any] = {"batch": 1000, "objects": 45, "size": (512, 512), "object_sides": (16, 60), "runs": 1}
CLASSES = 4
LIMIT = 100
RESAMPLES = 1000
PYCOCOTOOLS, HOTCOCO = "pycocotools", "hotcoco"
# Evaluators with pycocotools' interface: package and name of the class.
PEERS = {PYCOCOTOOLS: ("pycocotools", "COCOeval"), "faster-coco-eval": ("faster_coco_eval", "COCOeval_faster")}
STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
MAX_DIFFERENCE = 1e-9
NOTES = [
    "both start from ground truth and detections with masks as compressed RLE, and end with AP and AR of boxes and of masks; "
    "pasting and encoding are the part postprocess",
    "segkit: CocoEvaluator.process of each image, evaluate(), with the metrics of each class; pycocotools: COCO, loadRes, "
    "evaluate, accumulate, summarize for bbox and for segm, its dicts made beforehand; hotcoco: from_arrays, load_res of "
    "an array, evaluate, accumulate, its fastest path, with the arrays made from the images' objects and detections",
]


def run(options: Options) -> Report:
    """Runs the measurements of this part, which its notes describe."""
    options = options.filled(**DEFAULTS)
    assert options.batch and options.objects and options.size and options.runs
    scenes = make_scenes(options.batch, options.objects, options.size, CLASSES, options.object_sides)
    detections = sum(len(scene.found) for scene in scenes)
    situation = f"{options.batch:,} images, {options.batch * options.objects:,} objects, {detections:,} detections"
    report = Report.of("evaluate", f"{situation}, {CLASSES} classes", options, PYCOCOTOOLS)
    others = installed({name: package for name, (package, _) in PEERS.items()}, report)
    sides = {OWN: Side(OWN, lambda: own_metrics(scenes))}
    sides |= {name: peer_side(name, scenes) for name in others}
    if installed({HOTCOCO: HOTCOCO}, report):
        sides[HOTCOCO] = Side(HOTCOCO, lambda: hotcoco_metrics(scenes, CLASSES))
    made = measure_work(
        report, "boxes and masks, from detections to metrics", sides, runs=options.runs, device=torch.device("cpu")
    )
    report.rows += agreement(made, report)
    if installed({"scipy, for the other evaluators,": "scipy"}, report):
        measure_evaluators(report, scenes, options, CLASSES, LIMIT)
        data = overlaps_of(scenes)
        resampled = {OWN: Side(OWN, lambda: bootstrap_intervals(data, resamples=RESAMPLES))}
        work = f"{RESAMPLES:,} bootstrap resamples of the metrics of masks and of cells, from overlaps"
        measure_work(report, work, resampled, runs=options.runs, device=torch.device("cpu"))
    report.notes += NOTES
    return report


def own_metrics(scenes: Sequence[Scene]) -> dict[str, float]:
    """The metrics of segkit's evaluator."""
    names = [f"class{k + 1}" for k in range(CLASSES)]
    evaluator = CocoEvaluator(names, list(range(1, CLASSES + 1)), LIMIT)
    for scene in scenes:
        evaluator.process(Batch([scene.sample]), [scene.found])
    return evaluator.evaluate()


def make_side(options: Options, name: str, folder: Path) -> Side:
    """All evaluators of segkit, for a process that measures their peak memory."""
    options = options.filled(**DEFAULTS)
    assert options.batch and options.objects and options.size
    scenes = make_scenes(options.batch, options.objects, options.size, CLASSES, options.object_sides)
    return Side(name, lambda: evaluated(scenes, evaluator_names(), CLASSES, LIMIT))


def overlaps_of(scenes: Sequence[Scene]) -> DatasetOverlaps:
    """The overlaps of masks, which bootstrap intervals are computed from."""
    images = []
    for scene in scenes:
        truth = scene.sample.annotations or []
        image = EvaluatedImage.of(truth, scene.found, [], masks=True)
        images.append(image_overlaps(scene.sample.image_id, image, "segm"))
    return DatasetOverlaps(images, [f"class{k + 1}" for k in range(CLASSES)], "segm", LIMIT)


def peer_side(name: str, scenes: Sequence[Scene]) -> Side:
    """A side for an evaluator with pycocotools' interface, with its input prepared."""
    package, evaluator = PEERS[name]
    truth, results = peer_input(scenes)
    module = importlib.import_module(package)
    if name == PYCOCOTOOLS:
        coco, evaluation = (importlib.import_module(f"{package}.{m}") for m in ("coco", "cocoeval"))
        return Side(name, lambda: peer_metrics(coco.COCO, evaluation.COCOeval, truth, results))
    return Side(name, lambda: peer_metrics(module.COCO, getattr(module, evaluator), truth, results))


def peer_input(scenes: Sequence[Scene]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A COCO data set with its ground truth, and COCO results."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for scene in scenes:
        image_id = scene.sample.image_id
        images.append({"id": image_id, "height": scene.sample.size[0], "width": scene.sample.size[1]})
        for truth in scene.sample.annotations or ():
            given = {key: truth[key] for key in ("bbox", "segmentation", "area", "iscrowd")}
            number = len(annotations) + 1
            annotations.append({"id": number, "image_id": image_id, "category_id": truth["label"] + 1, **given})
        results += coco_results(scene.found, image_id, range(1, CLASSES + 1))
    categories = [{"id": k + 1, "name": f"class{k + 1}"} for k in range(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def peer_metrics(coco: Any, evaluation: Any, truth: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, float]:
    """The metrics of an evaluator with pycocotools' interface."""
    metrics: dict[str, float] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        ground_truth = coco()
        # Evaluators change annotations in place (and add areas to results), so that each run has its own.
        ground_truth.dataset = {**truth, "annotations": [dict(a) for a in truth["annotations"]]}
        ground_truth.createIndex()
        for kind, ignored_key in (("bbox", "segmentation"), ("segm", "bbox")):
            found = [{key: value for key, value in result.items() if key != ignored_key} for result in results]
            run = evaluation(ground_truth, ground_truth.loadRes(found), kind)
            run.evaluate()
            run.accumulate()
            run.summarize()
            metrics |= {f"{kind}/{name}": float(value) for name, value in zip(STATS, run.stats, strict=False)}
            metrics[f"{kind}/AR"] = float(run.stats[8])
            precision = run.eval["precision"][:, :, :, 0, -1]
            metrics |= {f"{kind}/AP-class{k + 1}": mean_precision(precision[:, :, k]) for k in range(CLASSES)}
    return {name: value for name, value in metrics.items() if value > -1}  # -1: no such objects


def mean_precision(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else -1.0


def agreement(made: dict[str, dict[str, float]], report: Report) -> list[Row]:
    """Rows with the metrics of each side and their differences from segkit's."""
    rows = [
        Row(f"{kind}/{name}", "", {side: metrics[f"{kind}/{name}"] for side, metrics in made.items()})
        for kind in ("bbox", "segm")
        for name in ("AP", "AP50", "AR")
    ]
    own = made[OWN]
    differences = {
        side: max(abs(value - own.get(name, float("nan"))) for name, value in metrics.items())
        for side, metrics in made.items()
        if side != OWN
    }
    rows.append(Row("greatest difference from segkit's metrics", "", differences))
    counts = {side: float(len(metrics.keys() & own.keys())) for side, metrics in made.items()}
    rows.append(Row("metrics compared", "", counts))
    report.notes += [
        f"{side} and segkit differ by {value:.3g}: they may not do the same work"
        for side, value in differences.items()
        if not value <= MAX_DIFFERENCE
    ]
    return rows
