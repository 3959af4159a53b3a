"""The quickstart's validation set measures masks: perfect boxes with poor masks fail it."""

import torch

import segkit
from segkit.data import build_dataset, build_test_loader, build_transforms
from segkit.registry import EVALUATOR_REGISTRY
from segkit.structures import Detections


def test_perfect_boxes_as_masks_score_low():
    cfg = segkit.load_config("segkit://quickstart.yaml", ["data.val.num_images=20"])
    dataset = build_dataset(cfg.data.val, path="data.val")
    evaluator = EVALUATOR_REGISTRY.build(
        {"name": "COCO"},
        classes=dataset.classes,
        category_ids=dataset.category_ids,
        max_detections=100,
        results_dir=None,
    )
    objects = touching = 0
    for batch in build_test_loader(dataset, build_transforms([])):
        detections = []
        for targets, size in zip(batch.targets, batch.sizes, strict=True):
            count = len(targets)
            assert 10 <= count <= 40
            filled = torch.ones(count, 28, 28)
            detections.append(Detections(targets.boxes, torch.ones(count), targets.labels, filled, size))
            dense = targets.masks.to_dense().float()
            grown = torch.nn.functional.max_pool2d(dense, 3, 1, 1).flatten(1)
            shared = grown @ dense.flatten(1).T
            touching += int(((shared - torch.diag(shared.diag())) > 0).any(1).sum())
            objects += count
        evaluator.process(batch, detections)
    metrics = evaluator.evaluate()
    assert metrics["bbox/AP75"] > 0.99
    assert metrics["segm/AP75"] < 0.15, metrics
    assert touching >= objects / 5
