"""AP equals pycocotools', for any limit, ids and ties."""

from __future__ import annotations

import json
import logging
import weakref

import numpy as np
import pytest
import torch

from segkit.evaluation import CocoEvaluator, metrics_table
from segkit.registry import EVALUATOR_REGISTRY
from segkit.structures.sample import Batch
from segkit.utils.errors import SegkitError

from .helpers import detections, problem, reference, rle_of, run, sample

CLASSES, IDS = ["a", "b", "c"], [7, -3, 10**10]


def mean(values):
    return values[values > -1].mean() if (values > -1).any() else None


def expected_metrics(pairs, iou_type, limit, threshold=0.0):
    limits = sorted({100, limit})
    at, hundred = limits.index(limit), limits.index(100)
    precision, recall = reference(pairs, iou_type, limits, 3, threshold)
    p, r = precision[..., at], recall[..., at]
    values = {"AP": p[:, :, :, 0], "AP50": p[0, :, :, 0], "AP75": p[5, :, :, 0], "AR": r[:, :, 0]}
    values |= {
        "APs": p[:, :, :, 1],
        "APm": p[:, :, :, 2],
        "APl": p[:, :, :, 3],
        "AP@100": precision[:, :, :, 0, hundred],
    }
    values |= {"ARs": r[:, :, 1], "ARm": r[:, :, 2], "ARl": r[:, :, 3]}
    for k, name in enumerate(CLASSES):
        values |= {f"AP-{name}": p[:, :, k, 0], f"AP50-{name}": p[0, :, k, 0], f"AP75-{name}": p[5, :, k, 0]}
    return {f"{iou_type}/{key}": mean(v) for key, v in values.items() if mean(v) is not None}


@pytest.mark.parametrize(
    ("seed", "limit", "kwargs"),
    [
        (0, 100, {}),
        (1, 20, {"ties": False}),
        (2, 300, {"images": 4, "most_objects": 60, "most_detections": 350}),
        (3, 150, {"images": 3, "most_detections": 170, "ties": False}),
        (4, 1, {}),
    ],
)
def test_equals_pycocotools(seed, limit, kwargs):
    pairs = list(problem(seed, **kwargs))
    metrics = run(CocoEvaluator(CLASSES, IDS, limit), pairs)
    expected = expected_metrics(pairs, "bbox", limit) | expected_metrics(pairs, "segm", limit)
    assert metrics.keys() == expected.keys()
    for key, value in expected.items():
        assert metrics[key] == pytest.approx(value, abs=1e-9), key
    assert metrics["segm/AP"] > 0


def test_limit_above_100_counts_objects_beyond_100():
    boxes = [[6 * (i % 20), 6 * (i // 20), 6 * (i % 20) + 5, 6 * (i // 20) + 5] for i in range(200)]
    pair = (
        Batch([sample(1, (120, 120), [(b, 0, False) for b in boxes])]),
        [detections(boxes, [0.9] * 200, [0] * 200, (120, 120))],
    )
    metrics = run(CocoEvaluator(["a"], [1], 200), [pair])
    assert metrics["segm/AP"] == pytest.approx(1.0)
    assert metrics["segm/AP@100"] == pytest.approx(51 / 101)  # half of the recall
    assert metrics["segm/AR"] == pytest.approx(1.0)


def test_a_mask_counts_wherever_its_box_is():
    """The mask overlaps, and its area decides whether it is small; the box may be elsewhere, and larger."""
    object_box, size = [10, 10, 30, 30], (80, 120)
    batch = Batch([sample(1, size, [(object_box, 0, False)])])
    masks = [rle_of(box, size)[0] for box in (object_box, [50, 40, 70, 60])]
    boxes = [[60, 0, 118, 78], [0, 0, 110, 78]]  # large, were they looked at
    pairs = [(batch, [detections(boxes, [0.5, 0.9], [0, 0], size, masks)])]
    metrics = run(CocoEvaluator(["a"], [1], 100), pairs)
    precision, _ = reference(pairs, "segm", [100], 1)
    assert metrics["segm/AP"] == pytest.approx(mean(precision[:, :, :, 0]), abs=1e-9) and metrics["segm/AP"] > 0.4
    assert metrics["segm/APs"] == pytest.approx(mean(precision[:, :, :, 1]), abs=1e-9)
    assert metrics["segm/APs"] < 0.6  # the false mask is a small one too
    assert metrics["bbox/AP"] == 0


def test_score_thresholds():
    pairs = list(problem(5))
    metrics = run(CocoEvaluator(CLASSES, IDS, 100, score_thresholds=[0.5], iou_types=["segm"]), pairs)
    precision, _ = reference(pairs, "segm", [100], 3, threshold=0.5)
    assert metrics["segm/AP50@score0.5"] == pytest.approx(mean(precision[0, :, :, 0, 0]), abs=1e-9)
    assert metrics["segm/AP@score0.5"] == pytest.approx(mean(precision[:, :, :, 0, 0]), abs=1e-9)
    assert metrics["segm/AP50@score0.5"] <= metrics["segm/AP50"]
    assert not any(key.startswith("bbox") for key in metrics)


def test_order_of_images_changes_nothing():
    pairs = list(problem(6))
    forward, backward = (run(CocoEvaluator(CLASSES, IDS, 100), p) for p in (pairs, pairs[::-1]))
    assert forward == backward


def test_metrics_are_zero_without_detections():
    batch = Batch([sample(1, (20, 20), [([2, 2, 9, 9], 0, False)])])
    metrics = run(
        CocoEvaluator(["a", "b"], [1, 2], 100, score_thresholds=[0.5]), [(batch, [detections([], [], [], (20, 20))])]
    )
    assert metrics["segm/AP"] == metrics["bbox/AP"] == metrics["segm/AP-a"] == metrics["segm/AP50@score0.5"] == 0
    assert "segm/AP-b" not in metrics  # no ground truth


@pytest.mark.parametrize("objects", [[], [([2, 2, 9, 9], 0, True)]], ids=["none", "crowd only"])
def test_no_ground_truth_is_a_warning(objects, caplog):
    pair = (Batch([sample(1, (20, 20), objects)]), [detections([[1, 1, 5, 5]], [0.9], [0], (20, 20))])
    with caplog.at_level(logging.WARNING):
        assert run(CocoEvaluator(["a"], [1], 100), [pair]) == {}
    assert "no ground truth in the 1 images" in caplog.text


def test_warns_of_images_with_more_objects_than_the_limit(caplog):
    objects = [([i, i, i + 3, i + 3], 0, i == 7) for i in range(8)]
    pairs = [
        (Batch([sample(1, (20, 20), objects)]), [detections([], [], [], (20, 20))]),
        (Batch([sample(2, (20, 20), objects[:5])]), [detections([], [], [], (20, 20))]),
    ]
    with caplog.at_level(logging.WARNING):
        evaluator = CocoEvaluator(["a"], [1], 5)
        run(evaluator, pairs)
    assert "1 of 2 images have more objects than the model's limit of 5" in caplog.text
    assert "(the most: 7): 2 of 12 objects cannot be found, so that recall is at most 83.3 %" in caplog.text
    caplog.clear()
    run(evaluator, pairs)
    assert not caplog.text  # once, not in each evaluation of a training


def test_results_file(tmp_path):
    pairs = list(problem(8, images=3))
    run(CocoEvaluator(CLASSES, IDS, 100, str(tmp_path / "inference")), pairs)
    results = json.loads((tmp_path / "inference" / "coco_instances_results.json").read_text())
    assert len(results) == sum(len(d) for _, [d] in pairs)
    by_id = {batch.image_ids[0]: (batch, d) for batch, [d] in pairs}
    first = results[0]
    batch, found = by_id[first["image_id"]]
    x0, y0, x1, y1 = found.boxes[0].tolist()
    assert first["bbox"] == [x0, y0, x1 - x0, y1 - y0]
    assert first["category_id"] == IDS[int(found.labels[0])]
    assert first["segmentation"]["size"] == list(batch.sizes[0]) and isinstance(first["segmentation"]["counts"], str)
    assert np.float32(first["score"]) == found.scores[0].numpy()


def test_mistakes_are_errors():
    pair = (Batch([sample(1, (20, 20), [([2, 2, 9, 9], 0, False)])]), [detections([], [], [], (20, 20))])
    evaluator = CocoEvaluator(["a"], [1], 100)
    with pytest.raises(SegkitError, match="image id 1 occurs twice"):
        run(evaluator, [pair, pair])
    boxes_only = detections([[1, 1, 5, 5]], [0.9], [0], (20, 20))
    boxes_only.mask_probs = None
    with pytest.raises(SegkitError, match="predicts no masks"):
        run(evaluator, [(pair[0], [boxes_only])])
    assert run(CocoEvaluator(["a"], [1], 100, iou_types=["bbox"]), [(pair[0], [boxes_only])])["bbox/AP"] == 0
    unlabelled = sample(1, (20, 20))
    unlabelled.annotations = None
    with pytest.raises(SegkitError, match="without ground truth"):
        run(evaluator, [(Batch([unlabelled]), [boxes_only])])


def test_built_from_the_registry():
    runtime = {"classes": ["a"], "category_ids": [3], "max_detections": 250, "results_dir": None}
    evaluator = EVALUATOR_REGISTRY.build({"name": "COCO", "iou_types": ["segm"]}, **runtime)
    assert evaluator.iou_types == ("segm",) and evaluator.max_detections == 250
    assert EVALUATOR_REGISTRY.build({"name": "COCO", "iou_types": ["bbox"]}, **runtime, predicts_masks=False)
    with pytest.raises(SegkitError, match=r"evaluator.*predicts no masks.*iou_types: \[bbox\]"):
        EVALUATOR_REGISTRY.build({"name": "COCO"}, path="evaluator", **runtime, predicts_masks=False)
    for spec in ({"iou_types": []}, {"iou_types": ["boundary"]}, {"score_thresholds": [50]}):
        with pytest.raises(SegkitError, match=f"evaluator: {next(iter(spec))}"):
            EVALUATOR_REGISTRY.build({"name": "COCO", **spec}, **runtime)


def test_results_leave_the_detections_as_they_are():
    found = detections([[1, 1, 5, 5]], [0.9], [0], (20, 20))
    found.boxes = found.boxes.double()
    before = found.boxes.clone()
    run(CocoEvaluator(["a"], [1], 100), [(Batch([sample(1, (20, 20), [([1, 1, 5, 5], 0, False)])]), [found])])
    assert torch.equal(found.boxes, before)


def test_table():
    metrics = {
        "bbox/AP": 0.5,
        "segm/AP": 0.4321,
        "segm/APs": 0.1,
        "bbox/AP-a": 0.5,
        "segm/AP-a": 0.4321,
        "segm/AP50-a": 1.0,
    }
    text = metrics_table(metrics, ["a", "b"])
    overall, per_class = text.split("\n\n")
    assert [line.split() for line in overall.splitlines()[::2]] == [["AP", "APs"], ["bbox", "50.00", "-"]]
    assert overall.splitlines()[3].split() == ["segm", "43.21", "10.00"]
    assert per_class.splitlines()[0].split() == ["class", "bbox/AP", "segm/AP", "segm/AP50"]
    assert per_class.splitlines()[2].split() == ["a", "50.00", "43.21", "100.00"]
    assert per_class.splitlines()[3].split() == ["b"] + ["-"] * 3
    assert "class" not in metrics_table({"segm/AP": 0.1}, ["a"])
    assert metrics_table({}, ["a"]) == "no metrics"


def test_no_probabilities_are_kept():
    """For a thousand images with hundreds of masks each they would take gigabytes."""
    evaluator = CocoEvaluator(CLASSES, IDS, 100)
    found = detections([[1, 1, 9, 9]], [0.9], [0], (20, 20))
    probs = weakref.ref(found.mask_probs)
    evaluator.process(Batch([sample(1, (20, 20), [([1, 1, 9, 9], 0, False)])]), [found])
    del found
    assert probs() is None and len(evaluator.results()[1].masks) == 1


def test_table_of_kinds_with_other_metrics():
    metrics = {f"segm/{name}": 0.5 for name in ("AP", "AP50")}
    metrics |= {f"cells/m{i}": i / 100 for i in range(20)} | {"cells/F1-b": 0.25, "cells/F1-a-b": 0.75}
    coco, first, second, per_class = metrics_table(metrics, ["b", "a-b"]).split("\n\n")
    assert [line.split() for line in coco.splitlines()[::2]] == [["AP", "AP50"], ["segm", "50.00", "50.00"]]
    names = [*first.splitlines()[0].split(), *second.splitlines()[0].split()]
    assert names == [f"m{i}" for i in range(20)]
    assert [line.split() for line in per_class.splitlines()[2:]] == [["b", "25.00"], ["a-b", "75.00"]]
