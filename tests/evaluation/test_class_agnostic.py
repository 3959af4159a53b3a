"""Evaluation of class-agnostic models: pycocotools' metrics with all classes merged into one."""

import copy

import numpy as np
import pytest
import torch

from segkit.evaluation.coco import CocoEvaluator
from segkit.structures.sample import Batch

from .helpers import detections, problem, reference, run, sample


def evaluator(limit=1000, **options):
    return CocoEvaluator(["a", "b", "c"], [4, 7, 9], limit, class_agnostic=True, iou_types=["bbox"], **options)


def test_equals_pycocotools_with_one_class():
    pairs = list(problem(3, most_detections=130))
    for _, [found] in pairs:
        found.labels.zero_()  # as a proposal network's
    metrics = run(evaluator(score_thresholds=[0.5]), pairs)
    merged = copy.deepcopy(pairs)
    for batch, _ in merged:
        for annotation in batch.samples[0].annotations:
            annotation["label"] = 0
    precision, recall = reference(merged, "bbox", [100, 1000], 1)
    assert metrics["bbox/AR@100"] == pytest.approx(np.mean(recall[:, :, 0, 0]), abs=1e-12)
    assert metrics["bbox/AR"] == pytest.approx(np.mean(recall[:, :, 0, 1]), abs=1e-12)
    assert metrics["bbox/AP"] == pytest.approx(np.mean(precision[:, :, :, 0, 1]), abs=1e-12)
    assert metrics["bbox/AR@100"] < metrics["bbox/AR"]
    precision, _ = reference(merged, "bbox", [1000], 1, threshold=0.5)
    assert metrics["bbox/AP@score0.5"] == pytest.approx(np.mean(precision[:, :, :, 0, 0]), abs=1e-12)
    assert not any("-" in name for name in metrics)


def test_recall_counts_objects_of_every_class():
    """Two of three objects found, none of them of the first class: the labels do not matter."""
    objects = [([2, 2, 12, 12], 1, False), ([20, 20, 40, 30], 2, False), ([40, 40, 50, 55], 0, False)]
    found = detections([[2, 2, 12, 12], [20, 20, 40, 30]], [0.9, 0.8], [0, 0], (60, 60))
    pairs = [(Batch([sample(1, (60, 60), objects)]), [found])]
    assert run(evaluator(), pairs)["bbox/AR"] == pytest.approx(2 / 3)
    with_classes = run(CocoEvaluator(["a", "b", "c"], [4, 7, 9], 1000, iou_types=["bbox"]), pairs)
    assert with_classes["bbox/AR"] == 0 and "bbox/AR@100" not in with_classes
    assert torch.equal(found.labels, torch.zeros(2, dtype=torch.int64))
