"""Evaluation where some or all objects have a box and no mask: pycocotools' metrics."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segkit.data import Coco
from segkit.evaluation import CocoEvaluator
from segkit.structures.sample import Batch

from .helpers import detections, problem, random_box, reference, run

CLASSES, IDS = ["a", "b", "c"], [7, -3, 10**10]


def mean(values):
    return values[values > -1].mean() if (values > -1).any() else None


def without_masks(pairs, share, seed=0):
    """The pairs, a share of whose objects loses its mask."""
    rng = np.random.default_rng(seed)
    changed = []
    for batch, found in pairs:
        (item,) = batch.samples
        truth = [{**t, "segmentation": None} if rng.random() < share else t for t in item.annotations]
        changed.append((Batch([dataclasses.replace(item, annotations=truth)]), found))
    return changed


def filled_box(box, size):
    """A box XYWH of integers as COCO's uncompressed RLE, counted pixel by pixel."""
    x, y, w, h = (int(v) for v in box)
    mask = np.zeros(size, np.uint8)
    mask[y : y + h, x : x + w] = 1
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(flat, prepend=0, append=flat[-1] + 1))
    return {"size": list(size), "counts": np.diff(changes, prepend=0).tolist()}


def as_ignored(pairs):
    """What the pairs should be for masks: an object without a mask is a crowd region, its filled box."""
    changed = []
    for batch, found in pairs:
        (item,) = batch.samples
        truth = [
            {**t, "iscrowd": 1, "segmentation": filled_box(t["bbox"], item.size)} if t["segmentation"] is None else t
            for t in item.annotations
        ]
        changed.append((Batch([dataclasses.replace(item, annotations=truth)]), found))
    return changed


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_equals_pycocotools_with_a_share_of_masks_missing(seed, share):
    pairs = without_masks(problem(seed), share, seed)
    metrics = run(CocoEvaluator(CLASSES, IDS, 100), pairs)
    for iou_type, expected in (("bbox", pairs), ("segm", as_ignored(pairs))):
        precision, recall = reference(expected, iou_type, [100], 3)
        expected_curves = {"AP": precision[..., 0, 0], "AP50": precision[0, :, :, 0, 0], "AR": recall[..., 0, 0]}
        expected_curves |= {f"AP{s}": precision[:, :, :, i, 0] for i, s in ((1, "s"), (2, "m"), (3, "l"))}
        expected_curves |= {f"AP-{name}": precision[:, :, k, 0, 0] for k, name in enumerate(CLASSES)}
        for key, values in expected_curves.items():
            if mean(values) is None:
                assert f"{iou_type}/{key}" not in metrics
            else:
                assert metrics[f"{iou_type}/{key}"] == pytest.approx(mean(values), abs=1e-9), (iou_type, key)


def test_masks_missing_change_nothing_for_boxes():
    pairs = list(problem(3))
    whole = run(CocoEvaluator(CLASSES, IDS, 100, iou_types=["bbox"]), pairs)
    assert whole == run(CocoEvaluator(CLASSES, IDS, 100, iou_types=["bbox"]), without_masks(pairs, 1.0))
    both = run(CocoEvaluator(CLASSES, IDS, 100), without_masks(pairs, 0.5))
    assert whole == {key: value for key, value in both.items() if key.startswith("bbox")}


def test_a_detection_on_an_object_without_a_mask_counts_neither_way():
    size, boxes = (60, 80), [[5, 5, 25, 25], [40, 30, 60, 50]]
    found = detections(boxes, [0.6, 0.9], [0, 0], size)
    annotations = [
        {"bbox": [5, 5, 20, 20], "segmentation": found.rles[0], "area": 300.0, "iscrowd": 0, "label": 0},
        {"bbox": [40, 30, 20, 20], "segmentation": None, "area": 400.0, "iscrowd": 0, "label": 0},
    ]
    (batch, _), *_ = problem(0)
    item = dataclasses.replace(batch.samples[0], size=size, annotations=annotations)
    metrics = run(CocoEvaluator(["a"], [1], 100), [(Batch([item]), [found])])
    assert metrics["bbox/AP"] == pytest.approx(1.0)
    assert metrics["segm/AP"] == pytest.approx(1.0)  # a false positive would halve it
    missed = detections(boxes[:1], [0.6], [0], size)
    metrics = run(CocoEvaluator(["a"], [1], 100), [(Batch([item]), [missed])])
    assert metrics["segm/AR"] == pytest.approx(1.0) and metrics["bbox/AR"] == pytest.approx(0.5)


def test_the_number_of_objects_without_masks_is_logged_once(caplog):
    evaluator = CocoEvaluator(CLASSES, IDS, 100)
    pairs = without_masks(problem(1), 0.4)
    truth = [t for batch, _ in pairs for t in batch.samples[0].annotations if not t["iscrowd"]]
    unmasked = sum(t["segmentation"] is None for t in truth)
    assert 0 < unmasked < len(truth)
    with caplog.at_level(logging.WARNING):
        run(evaluator, pairs)
        run(evaluator, pairs)
    logged = [r.getMessage() for r in caplog.records if "no mask" in r.getMessage()]
    assert len(logged) == 1 and logged[0].startswith(f"{unmasked} of {len(truth)} objects evaluated have no mask")


@pytest.mark.parametrize("iou_types", [["bbox", "segm"], ["segm"], ["bbox"]])
def test_without_any_mask_there_are_no_metrics_of_masks(caplog, iou_types):
    with caplog.at_level(logging.WARNING):
        metrics = run(CocoEvaluator(CLASSES, IDS, 100, iou_types=iou_types), without_masks(problem(2), 1.0))
    assert {key.split("/")[0] for key in metrics} == set(iou_types) - {"segm"}
    logged = [r.getMessage() for r in caplog.records if "has a mask" in r.getMessage()]
    assert len(logged) == ("segm" in iou_types) and all("iou_types: [bbox]" in text for text in logged)


def test_class_agnostic_and_shared_by_processes():
    pairs = without_masks(problem(4), 0.5)
    precision, _ = reference(as_ignored(one_class(pairs)), "segm", [100], 1)
    evaluator = CocoEvaluator(CLASSES, IDS, 100, class_agnostic=True)
    assert run(evaluator, pairs)["segm/AP"] == pytest.approx(mean(precision[..., 0, 0]), abs=1e-9)
    whole = run(CocoEvaluator(CLASSES, IDS, 100), pairs)
    parts = [CocoEvaluator(CLASSES, IDS, 100) for _ in range(2)]
    for part, some in zip(parts, (pairs[::2], pairs[1::2]), strict=True):
        run(part, some)
    parts[0].merge([part.results() for part in parts])
    assert parts[0].evaluate() == whole


def one_class(pairs):
    changed = []
    for batch, [found] in pairs:
        (item,) = batch.samples
        truth = [{**t, "label": 0} for t in item.annotations]
        alike = dataclasses.replace(found, labels=found.labels * 0)
        alike.rles = found.rles
        changed.append((Batch([dataclasses.replace(item, annotations=truth)]), [alike]))
    return changed


@pytest.mark.parametrize("kind", ["no segmentation", "empty list", "half", "crowds", "beyond the border"])
def test_metrics_of_a_file_of_boxes_are_pycocotools(tmp_path, kind):
    """From the file to the metric, beside pycocotools on the same file."""
    rng, size = np.random.default_rng(5), (70, 90)
    images = [{"id": 3 * i + 2, "file_name": f"{i}.png", "height": 70, "width": 90} for i in range(6)]
    annotations, results = [], []
    for image in images:
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(tmp_path / image["file_name"])
        for _ in range(int(rng.integers(1, 9))):
            x0, y0, x1, y1 = np.array(random_box(rng, size)) + rng.random(4) * 0.4
            one = {"bbox": [x0, y0, x1 - x0 + 0.5, y1 - y0 + 0.5], "category_id": int(rng.choice([4, 9])), "iscrowd": 0}
            if kind == "beyond the border":
                one["bbox"] = [x0 - 30, y0 - 20, *one["bbox"][2:]]
            if kind == "empty list":
                one["segmentation"] = []
            if kind == "half" and rng.random() < 0.5:
                one["segmentation"] = [[x0, y0, x1, y0, x1, y1]]
            one["iscrowd"] = int(kind == "crowds" and rng.random() < 0.4)
            one["area"] = one["bbox"][2] * one["bbox"][3]
            annotations.append({"id": len(annotations) + 1, "image_id": image["id"], **one})
            for _ in range(int(rng.integers(0, 3))):
                box = np.array(one["bbox"], np.float32) + rng.normal(0, 1.5, 4).astype(np.float32)
                if min(box[2:]) > 0:
                    results.append((image["id"], one["category_id"], box.tolist(), float(np.float32(rng.random()))))
    categories = [{"id": 4, "name": "a"}, {"id": 9, "name": "b"}]
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    dataset = Coco(json=str(file), images=str(tmp_path))
    pairs, found = [], []
    for index, image_id in enumerate(dataset.image_ids):
        sample = dataset.load(index)
        sample.annotations = dataset.ground_truth(index, sample)
        own = sorted((r for r in results if r[0] == image_id), key=lambda r: -r[3])
        boxes = [[x, y, x + w, y + h] for _, _, (x, y, w, h), _ in own]
        some = detections(boxes, [r[3] for r in own], [[4, 9].index(r[1]) for r in own], size, rles=[])
        pairs.append((Batch([sample]), [some]))
        xywh = some.boxes.double().numpy()
        xywh[:, 2:] -= xywh[:, :2]
        for r, box in zip(own, xywh.tolist(), strict=True):
            found.append({"image_id": image_id, "category_id": r[1], "bbox": box, "score": r[3]})
    metrics = run(CocoEvaluator(dataset.classes, dataset.category_ids, 100, iou_types=["bbox"]), pairs)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(file))
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    for name, value in zip(names, evaluation.stats[:6], strict=True):
        assert metrics.get(f"bbox/{name}", -1) == pytest.approx(value, abs=1e-9), name
    assert metrics["bbox/AP"] > 0.05
