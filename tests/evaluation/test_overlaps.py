"""Metrics from overlaps equal those of the COCO evaluator, which pycocotools and hotcoco compute."""

import dataclasses

import pytest
import torch

from segkit.evaluation.average_precision import average_precisions, mean_ap
from segkit.evaluation.coco import CocoEvaluator
from segkit.evaluation.greedy_matching import match_detections
from segkit.evaluation.overlap_evaluator import OverlapEvaluator
from segkit.structures.sample import Batch
from segkit.structures.targets import Targets

from .test_unannotated import CLASSES, scene

AREAS = {"AP": (0, 1e10), "APs": (0, 32**2), "APm": (32**2, 96**2)}


class Aps(OverlapEvaluator):
    def metrics(self, data):
        found = {}
        for name, area_range in AREAS.items():
            aps = average_precisions(data, area_range=area_range)
            found[f"{data.iou_type}/{name}"] = mean_ap(aps)
            if name == "AP":
                found |= {f"{data.iou_type}/AP-{label}": mean_ap(aps[:, k]) for k, label in enumerate(data.classes)}
                found[f"{data.iou_type}/AP50"] = mean_ap(aps[0])
        return {name: value for name, value in found.items() if value is not None}


def with_unlabelled(batches):
    for i, (batch, found) in enumerate(batches):
        [one] = batch.samples
        targets = dataclasses.replace(Targets.empty(one.size), unlabelled=torch.tensor([i % 3]))
        yield Batch([dataclasses.replace(one, targets=targets)]), found


@pytest.mark.parametrize("limit", [3, 300])
@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("kind", ["crowds", "regions", "boxes as regions", "unlabelled"])
def test_ap_equals_coco(kind, iou_type, limit):
    batches = list(scene(7, images=8, regions=0 if kind == "crowds" else 2, masked=kind != "boxes as regions"))
    if kind == "unlabelled":
        batches = list(with_unlabelled(batches))
    own = Aps(CLASSES, limit, iou_type=iou_type)
    coco = CocoEvaluator(CLASSES, [1, 2, 3], limit, iou_types=(iou_type,))
    for batch, found in batches:
        own.process(batch, found)
        coco.process(batch, found)
    expected = coco.evaluate()
    values = own.evaluate()
    names = [f"{iou_type}/{name}" for name in ("AP", "APs", "APm", "AP50", *(f"AP-{label}" for label in CLASSES))]
    assert values == {name: pytest.approx(expected[name], abs=1e-12) for name in names if name in expected}


def test_shares_of_two_processes_are_merged():
    batches = list(scene(3))
    whole, *parts = (Aps(CLASSES, 100) for _ in range(3))
    for i, (batch, found) in enumerate(batches):
        whole.process(batch, found)
        parts[i % 2].process(batch, found)
    whole_metrics = whole.evaluate()
    parts[0].merge([part.results() for part in parts])
    assert parts[0].evaluate() == whole_metrics


def test_an_image_without_objects_or_detections():
    batch, found = next(iter(scene(1, images=1)))
    evaluator = Aps(CLASSES, 100)
    evaluator.process(batch, [found[0][:0]])
    [image] = evaluator.data.images
    assert match_detections(image).objects.shape == (10, 0)
    assert evaluator.evaluate()["segm/AP"] == 0.0
