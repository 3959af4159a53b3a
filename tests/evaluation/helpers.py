"""Random ground truth and detections, and pycocotools' metrics of them."""

from __future__ import annotations

import contextlib
import copy
import io

import numpy as np
import torch
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segkit.structures.detections import Detections
from segkit.structures.sample import Batch, Sample
from segkit.structures.targets import Targets


def rle_of(box, size):
    """RLE of a box whose upper left quarter is missing; at least one pixel."""
    x0, y0, x1, y1 = (int(v) for v in box)
    mask = np.zeros(size, np.uint8, order="F")
    mask[y0:y1, x0:x1] = 1
    mask[y0 : y0 + (y1 - y0) // 2, x0 : x0 + (x1 - x0) // 2] = 0
    rle = mask_api.encode(mask)
    return {"size": list(size), "counts": rle["counts"].decode()}, float(mask.sum())


def random_box(rng, size):
    h, w = size
    x0, y0 = rng.integers(0, w - 1), rng.integers(0, h - 1)
    return [x0, y0, min(w, x0 + rng.integers(1, 40)), min(h, y0 + rng.integers(1, 40))]


class RleDetections(Detections):
    """Detections with ready RLEs, all that an evaluator reads."""

    def to_rle(self):
        return self.rles


def detections(boxes, scores, labels, size, rles=None):
    found = RleDetections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64),
        torch.zeros(len(scores), 2, 2),
        size,
    )
    found.rles = [rle_of(box, size)[0] for box in boxes] if rles is None else rles
    return found


def sample(image_id, size, objects=()):
    """objects: (box, label, crowd)."""
    annotations = []
    for box, label, crowd in objects:
        rle, area = rle_of(box, size)
        x0, y0, x1, y1 = (float(v) for v in box)
        annotation = {"bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": rle, "area": area}
        annotations.append({**annotation, "iscrowd": int(crowd), "label": label})
    return Sample(
        torch.zeros(3, 4, 4, dtype=torch.uint8), Targets.empty((4, 4)), image_id, f"{image_id}.png", size, annotations
    )


def problem(seed, images=8, most_objects=15, most_detections=40, num_classes=3, ties=True):
    """Batches of one image with their detections: crowds, empty images, images without detections, ties."""
    rng = np.random.default_rng(seed)
    for i in range(images):
        size = (int(rng.integers(60, 120)), int(rng.integers(60, 120)))
        count = 0 if i % 4 == 3 else int(rng.integers(1, most_objects + 1))
        objects = [(random_box(rng, size), int(rng.integers(num_classes)), rng.random() < 0.12) for _ in range(count)]
        boxes, labels = [], []
        for _ in range(0 if i % 5 == 4 else most_detections):
            if objects and rng.random() < 0.6:
                (x0, y0, x1, y1), label, _ = objects[rng.integers(len(objects))]
                x0, y0 = (int(np.clip(v + rng.integers(-1, 2), 0, None)) for v in (x0, y0))
                x1, y1 = max(x0 + 1, min(size[1], x1)), max(y0 + 1, min(size[0], y1))
                boxes.append([min(x0, size[1] - 1), min(y0, size[0] - 1), x1, y1])
                labels.append(label)
            else:
                boxes.append(random_box(rng, size))
                labels.append(int(rng.integers(num_classes)))
        scores = np.sort(np.round(rng.random(len(boxes)), 1 if ties else 7))[::-1]
        image_id = (1 if i % 2 else -1) * (10**12 + 7 * int(rng.integers(10**6))) + i
        yield Batch([sample(image_id, size, objects)]), [detections(boxes, scores.copy(), labels, size)]


def reference(pairs, iou_type, limits, num_classes, threshold=0.0):
    """pycocotools' precision and recall arrays."""
    evaluation = coco_eval(pairs, iou_type, limits, num_classes, threshold)
    return evaluation.eval["precision"], evaluation.eval["recall"]


def coco_eval(pairs, iou_type, limits, num_classes, threshold=0.0):
    """pycocotools' finished evaluation; detections are numbered from 1 in their order."""
    images, truth, found = [], [], []
    for batch, [d] in pairs:
        [item] = batch.samples
        images.append({"id": item.image_id, "height": item.size[0], "width": item.size[1]})
        for a in item.annotations:
            truth.append({**a, "id": len(truth) + 1, "image_id": item.image_id, "category_id": a["label"] + 1})
        for box, score, label, rle in zip(d.boxes.tolist(), d.scores.tolist(), d.labels.tolist(), d.rles, strict=True):
            shape = (
                {"segmentation": rle} if iou_type == "segm" else {"bbox": [*box[:2], box[2] - box[0], box[3] - box[1]]}
            )
            if score >= threshold:
                found.append({"image_id": item.image_id, "category_id": label + 1, "score": score, **shape})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(
            {
                "images": images,
                "annotations": truth,
                "categories": [{"id": k + 1, "name": str(k)} for k in range(num_classes)],
            }
        )
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), iou_type)
        evaluation.params.maxDets = list(limits)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def run(evaluator, pairs):
    evaluator.reset()
    for batch, found in pairs:
        evaluator.process(batch, found)
    return evaluator.evaluate()
