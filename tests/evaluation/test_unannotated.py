"""Ignore regions and classes that are not annotated everywhere, compared with pycocotools and with LVIS's rule."""

import dataclasses

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api

from segkit.data.formats.objects import ground_truth_from_targets
from segkit.evaluation.coco import CocoEvaluator
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Batch
from segkit.structures.targets import ALL_CLASSES, Targets

from .helpers import coco_eval, detections, reference, rle_of, sample

CLASSES = ["a", "b", "c"]
BACKENDS = ["hotcoco", "pycocotools"]


def scene(seed, images=6, regions=2, masked=True):
    """Batches of one image with objects, regions of all classes, crowds, and detections in and around them."""
    rng = np.random.default_rng(seed)

    def box(size):
        x0, y0 = rng.integers(0, size[1] - 12), rng.integers(0, size[0] - 12)
        return [
            int(x0),
            int(y0),
            int(min(size[1], x0 + rng.integers(4, 40))),
            int(min(size[0], y0 + rng.integers(4, 40))),
        ]

    for image_id in range(1, images + 1):
        size = (int(rng.integers(60, 90)), int(rng.integers(60, 90)))
        objects = [(box(size), int(rng.integers(3)), rng.random() < 0.15) for _ in range(8)]
        one = sample(image_id, size, objects)
        for _ in range(regions):
            region = box(size)
            rle, area = rle_of(region, size)
            bbox = [float(region[0]), float(region[1]), float(region[2] - region[0]), float(region[3] - region[1])]
            item = {"bbox": bbox, "area": area, "iscrowd": 1, "label": ALL_CLASSES}
            one.annotations.append({**item, "segmentation": rle if masked else None})
        near = [np.clip(np.array(o[0]) + rng.integers(-2, 3, 4), 0, [size[1], size[0]] * 2).tolist() for o in objects]
        boxes = [b for b in near + [box(size) for _ in range(25)] if b[2] > b[0] and b[3] > b[1]]
        scores = rng.integers(1, 40, len(boxes)) / 40  # with ties
        yield Batch([one]), [detections(boxes, scores, rng.integers(0, 3, len(boxes)), size)]


def evaluated(batches, iou_type, backend, max_detections=300, **settings):
    evaluator = CocoEvaluator(CLASSES, [1, 2, 3], max_detections, iou_types=(iou_type,), backend=backend, **settings)
    for batch, found in batches:
        evaluator.process(batch, found)
    return evaluator.evaluate()


def by_pycocotools(batches, iou_type):
    """pycocotools' AP with explicit crowd entries in each class: each region's box, or the union of the masks."""
    explicit = []
    for batch, found in batches:
        [one] = batch.samples
        regions = [item for item in one.annotations if item["label"] == ALL_CLASSES]
        if iou_type == "segm" and regions:
            regions = [{**regions[0], "segmentation": mask_api.merge([item["segmentation"] for item in regions])}]
        truth = [item for item in one.annotations if item["label"] != ALL_CLASSES]
        truth += [{**item, "label": label} for item in regions for label in range(3)]
        explicit.append((Batch([dataclasses.replace(one, annotations=truth)]), found))
    precision = reference(explicit, iou_type, [100, 300], 3)[0][..., 1]
    return [
        float(values[values > -1].mean()) for values in (precision[..., 0], precision[..., 1], precision[:, :, 0, 0])
    ]


def shown(metrics, iou_type):
    return [metrics[f"{iou_type}/{name}"] for name in ("AP", "APs", "AP-a")]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("iou_type", "masked"), [("segm", True), ("bbox", False)])
def test_a_region_is_a_crowd_of_every_class(backend, iou_type, masked):
    found = list(scene(1, masked=masked))
    expected = by_pycocotools(found, iou_type)
    assert shown(evaluated(found, iou_type, backend), iou_type) == expected
    assert shown(evaluated(list(scene(1, regions=0)), iou_type, backend), iou_type) != expected


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_boxes_in_a_rectangular_mask_are_those_in_its_box(backend, iou_type):
    """The shares in masks, and the accumulation with them, against COCO's own rule for the same rectangles."""
    boxes = list(scene(2, regions=1, masked=False))
    masks = list(scene(2, regions=1, masked=False))
    for batch, _ in masks:
        for item in batch.samples[0].annotations:
            if item["label"] == ALL_CLASSES:
                x, y, w, h = map(int, item["bbox"])
                mask = torch.zeros(1, *batch.samples[0].size, dtype=torch.bool)
                mask[0, y : y + h, x : x + w] = True
                [item["segmentation"]] = InstanceMasks.from_dense(mask).to_rle()
    expected = evaluated(boxes, iou_type, "pycocotools", score_thresholds=[0.3])
    assert evaluated(masks, iou_type, backend, score_thresholds=[0.3]) == expected
    assert shown(expected, iou_type) == by_pycocotools(masks, iou_type)


def shares(batches, iou_type):
    """How far each detection is in the union of the regions, by sums over pixels."""
    for batch, [found] in batches:
        [one] = batch.samples
        regions = [item for item in one.annotations if item["label"] == ALL_CLASSES]
        union = mask_api.decode([item["segmentation"] for item in regions]).any(2)
        boxes = np.array([item["bbox"] for item in regions])
        for (x0, y0, x1, y1), rle in zip(found.boxes.int().tolist(), found.to_rle(), strict=True):
            if iou_type == "segm":
                yield union[mask_api.decode(rle) != 0].mean()
            else:
                of_boxes = mask_api.iou(np.array([[x0, y0, x1 - x0, y1 - y0]], float), boxes, [0] * len(boxes))
                yield max(union[y0:y1, x0:x1].mean(), of_boxes.max())


def chosen(found, indices):
    rles = [found.rles[i] for i in indices]
    parts = (found.boxes[indices].tolist(), found.scores[indices].tolist(), found.labels[indices].tolist())
    return detections(*parts, found.size, rles)


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("limit", [3, 300])
def test_unmatched_detections_in_regions_count_neither_way(iou_type, limit):
    """AP50 and AP75 are those without these detections; at a limit, they take the place of others as any detection."""
    found = list(scene(6, regions=4))
    in_regions = list(shares(found, iou_type))
    plain = [
        (Batch([dataclasses.replace(b.samples[0], annotations=[i for i in b.samples[0].annotations if i["label"] >= 0])]), f)
        for b, f in found
    ]  # fmt: skip
    matched = coco_eval(plain, iou_type, [limit], 3)
    for backend in BACKENDS:
        metrics = evaluated(found, iou_type, backend, max_detections=limit)
        for threshold, name in ((0, "AP50"), (5, "AP75")):
            kept = [
                number
                for entry in matched.evalImgs
                if entry is not None and entry["aRng"][0] == 0 and entry["aRng"][1] > 1e9
                for number, match in zip(entry["dtIds"], entry["dtMatches"][threshold], strict=True)
                if match or in_regions[number - 1] < 0.5 + 0.05 * threshold
            ]
            first, rest = 1, []
            for batch, [d] in plain:
                own = [number - first for number in range(first, first + len(d)) if number in kept]
                rest.append((batch, [chosen(d, own)]))
                first += len(d)
            values = coco_eval(rest, iou_type, [limit], 3).eval["precision"][threshold, ..., 0, 0]
            assert metrics[f"{iou_type}/{name}"] == pytest.approx(values[values > -1].mean(), abs=1e-12)
        assert 0 < len(kept) < sum(len(d) for _, [d] in plain)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_box_of_a_region_around_the_annotated_part_does_not_count(backend):
    """Left half annotated: a false positive there counts, one in the right half does not, one across by its share."""
    size = (40, 40)
    one = sample(1, size, [([2, 2, 12, 12], 0, False)])
    outside = torch.ones(1, *size, dtype=torch.bool)
    outside[0, 10:30, :20] = False
    masks = InstanceMasks.from_dense(outside)
    region = Targets(masks.boxes(), torch.tensor([ALL_CLASSES]), masks, torch.tensor([True]))
    one.annotations.extend(ground_truth_from_targets(dataclasses.replace(one, targets=region)))
    right = detections([[25, 5, 35, 15], [2, 2, 12, 12]], [0.9, 0.8], [0, 0], size)
    assert evaluated([(Batch([one]), [right])], "bbox", backend)["bbox/AP"] == pytest.approx(1)
    left = detections([[5, 12, 15, 22], [2, 2, 12, 12]], [0.9, 0.8], [0, 0], size)
    assert evaluated([(Batch([one]), [left])], "bbox", backend)["bbox/AP"] == pytest.approx(0.5)
    across = detections([[13, 15, 23, 25], [2, 2, 12, 12]], [0.9, 0.8], [0, 0], size)  # share 0.3 < 0.5
    assert evaluated([(Batch([one]), [across])], "bbox", backend)["bbox/AP"] == pytest.approx(0.5)
    most = detections([[12, 15, 32, 25], [2, 2, 12, 12]], [0.9, 0.8], [0, 0], size)  # 0.6: ignored at 0.5, 0.55 and 0.6
    assert evaluated([(Batch([one]), [most])], "bbox", backend)["bbox/AP"] == pytest.approx(0.3 + 0.5 * 0.7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_box_of_an_ignored_object_is_in_it(backend):
    """A thin object fills little of its box; its detection is ignored as far as its box fits."""
    size = (40, 40)
    one = sample(1, size, [([30, 30, 38, 38], 0, False)])
    masks = InstanceMasks.from_dense(torch.eye(40, dtype=torch.bool)[None])
    masks = masks.crop(0, 0, 20, 20).placed(size)
    region = Targets(masks.boxes(), torch.tensor([ALL_CLASSES]), masks, torch.tensor([True]))
    one.annotations.extend(ground_truth_from_targets(dataclasses.replace(one, targets=region)))
    for box, expected in (
        ([0, 0, 20, 20], 1.0),
        ([0, 0, 20, 15], 0.6 + 0.4 * 0.5),
    ):  # IoU 0.75: ignored at 6 thresholds
        found = detections([box, [30, 30, 38, 38]], [0.9, 0.8], [0, 0], size)
        assert evaluated([(Batch([one]), [found])], "bbox", backend)["bbox/AP"] == pytest.approx(expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_class_agnostic_metrics_ignore_regions_too(backend, iou_type):
    found = list(scene(3))
    one_class = [
        (
            Batch([dataclasses.replace(b.samples[0], annotations=[
                {**item, "label": item["label"] if item["label"] < 0 else 0} for item in b.samples[0].annotations])]),
            [detections(d.boxes.tolist(), d.scores.tolist(), [0] * len(d), d.size)],
        )
        for b, [d] in found
    ]  # fmt: skip
    agnostic = evaluated(found, iou_type, backend, class_agnostic=True)
    assert agnostic[f"{iou_type}/AP"] == evaluated(one_class, iou_type, backend)[f"{iou_type}/AP-a"]


def federated(seed):
    """The scene without regions, each image with unlabelled classes: by LVIS's lists, and as targets have them."""
    rng = np.random.default_rng(seed)
    for batch, found in scene(seed, images=10, regions=0):
        [one] = batch.samples
        kept = [item for item in one.annotations if not item["iscrowd"] and item["label"] != rng.integers(3)]
        present = {item["label"] for item in kept}
        negative = {label for label in range(3) if label not in present and rng.random() < 0.5}
        partly = {label for label in present if rng.random() < 0.4}
        unlabelled = sorted((set(range(3)) - present - negative) | partly)
        targets = dataclasses.replace(one.targets, unlabelled=torch.tensor(unlabelled, dtype=torch.int64))
        yield Batch([dataclasses.replace(one, annotations=kept, targets=targets)]), found, negative, partly


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
@pytest.mark.parametrize("seed", [4, 5])
def test_unlabelled_classes_follow_lvis(backend, iou_type, seed):
    hotcoco = pytest.importorskip("hotcoco")
    images, truth, results = [], [], []
    for batch, [found], negative, partly in federated(seed):
        [one] = batch.samples
        images.append({
            "id": one.image_id, "height": one.size[0], "width": one.size[1],
            "neg_category_ids": [label + 1 for label in sorted(negative)],
            "not_exhaustive_category_ids": [label + 1 for label in sorted(partly)],
        })  # fmt: skip
        for item in one.annotations:
            truth.append({**item, "id": len(truth) + 1, "image_id": one.image_id, "category_id": item["label"] + 1})
        for box, score, label, rle in zip(found.boxes, found.scores, found.labels, found.to_rle(), strict=True):
            x0, y0, x1, y1 = box.tolist()
            entry = {"image_id": one.image_id, "category_id": int(label) + 1, "score": float(score)}
            region = {"bbox": [x0, y0, x1 - x0, y1 - y0]} if iou_type == "bbox" else {"segmentation": rle}
            results.append({**entry, **region})
    categories = [{"id": i, "name": str(i), "frequency": "f"} for i in (1, 2, 3)]
    coco = hotcoco.COCO({"images": images, "annotations": truth, "categories": categories})
    lvis = hotcoco.COCOeval(coco, coco.load_res(results), iou_type, lvis_style=True)
    lvis.run()
    batches = [(batch, found) for batch, found, _, _ in federated(seed)]
    metrics = evaluated(batches, iou_type, backend)
    assert metrics[f"{iou_type}/AP"] == pytest.approx(lvis.get_results()["AP"], abs=1e-12)
    exhaustive = [(Batch([dataclasses.replace(b.samples[0], targets=Targets.empty((4, 4)))]), f) for b, f in batches]
    assert evaluated(exhaustive, iou_type, backend)[f"{iou_type}/AP"] < metrics[f"{iou_type}/AP"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_unlabelled_by_hand(backend):
    """One class is annotated and one is not; an empty mask and a box beyond the image count neither way."""
    size = (40, 40)
    one = sample(1, size, [([2, 2, 12, 12], 0, False)])
    boxes = [[2, 2, 12, 12], [20, 20, 30, 30], [-5, 30, 60, 39]]
    nothing = InstanceMasks.empty(size, 1).to_rle()[0]
    rles = [rle_of(boxes[0], size)[0], rle_of(boxes[1], size)[0], nothing]
    found = detections(boxes, [0.5, 0.9, 0.8], [0, 0, 0], size, rles)
    partial = dataclasses.replace(one, targets=dataclasses.replace(one.targets, unlabelled=torch.tensor([0])))
    for iou_type in ("bbox", "segm"):
        assert evaluated([(Batch([one]), [found])], iou_type, backend)[f"{iou_type}/AP"] == pytest.approx(1 / 3)
        assert evaluated([(Batch([partial]), [found])], iou_type, backend)[f"{iou_type}/AP"] == pytest.approx(1)
    agnostic = evaluated([(Batch([partial]), [found])], "bbox", backend, class_agnostic=True)
    assert agnostic["bbox/AP"] == pytest.approx(1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_detections_of_unlabelled_classes_beside_a_region(backend):
    """The shares belong to the detections that are left: the one in the region is ignored, the other one counts."""
    size = (40, 40)
    one = sample(1, size, [([2, 2, 12, 12], 0, False)])
    region = {"bbox": [20.0, 20, 10, 10], "area": 100.0, "iscrowd": 1, "label": ALL_CLASSES}
    one.annotations.append({**region, "segmentation": rle_of([20, 20, 30, 30], size)[0]})
    one = dataclasses.replace(one, targets=dataclasses.replace(one.targets, unlabelled=torch.tensor([1])))
    boxes = [[5, 5, 5, 9], [20, 20, 30, 30], [30, 2, 38, 10], [2, 2, 12, 12]]
    found = detections(boxes, [0.9, 0.8, 0.7, 0.6], [1, 0, 0, 0], size)
    assert evaluated([(Batch([one]), [found])], "bbox", backend)["bbox/AP"] == pytest.approx(0.5)
