"""Scenes of ellipses with simulated detections, and annotations that are wrong in known ways."""

import dataclasses

import numpy as np
from pycocotools import mask as mask_api

from segkit.evaluation.coco_matching import EvaluatedImage
from segkit.evaluation.image_overlaps import DatasetOverlaps, image_overlaps

CLASSES = ["round", "long"]
SIZE = (200, 200)
CELL = 40  # one object a cell of this side


def ellipse(x, y, rx, ry):
    """RLE of a filled ellipse."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    inside = ((columns + 0.5 - x) / rx) ** 2 + ((rows + 0.5 - y) / ry) ** 2 <= 1
    rle = mask_api.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"size": list(SIZE), "counts": rle["counts"].decode()}


def united(*rles):
    """RLE of the union."""
    rle = mask_api.merge([{**one, "counts": one["counts"].encode()} for one in rles])
    return {"size": list(SIZE), "counts": rle["counts"].decode()}


def item(rle, label, **more):
    """An entry of the ground truth."""
    encoded = {**rle, "counts": rle["counts"].encode()}
    box, area = mask_api.toBbox(encoded).tolist(), float(mask_api.area(encoded))
    return {"segmentation": rle, "bbox": box, "area": area, "iscrowd": 0, "label": label, **more}


@dataclasses.dataclass
class Scene:
    """One image: its true objects, what is annotated, and what a good model detects."""

    true: list  # (x, y, rx, ry), label
    truth: list
    found: list  # RLE, label, score
    free: list  # cells without an object

    def overlaps(self, image_id, iou_type, unlabelled=()):
        boxes = [mask_api.toBbox({**rle, "counts": rle["counts"].encode()}) for rle, _, _ in self.found]
        image = EvaluatedImage(
            SIZE,
            self.truth,
            np.array(boxes, np.float64).reshape(-1, 4),
            np.array([score for *_, score in self.found]),
            np.array([label for _, label, _ in self.found], np.int64),
            [rle["counts"] for rle, _, _ in self.found] if iou_type == "segm" else None,
            unlabelled,
        )
        return image_overlaps(image_id, image, iou_type)


def clean_scene(rng, *, recall=0.97):
    """A scene whose annotations are right, with a model that misses some objects and invents others."""
    true, free = [], []
    for row in range(SIZE[0] // CELL):
        for column in range(SIZE[1] // CELL):
            x, y = (column + 0.5) * CELL, (row + 0.5) * CELL
            if rng.random() < 0.2:
                free.append((x, y))
                continue
            label = int(rng.random() < 0.4)
            rx = rng.uniform(9, 14)
            true.append(((x + rng.uniform(-3, 3), y + rng.uniform(-3, 3), rx, rx * (0.55 if label else 1.0)), label))
    return Scene(true, [item(ellipse(*shape), label) for shape, label in true], detected(rng, true, free, recall), free)


def detected(rng, true, free, recall=0.97):
    """Detections of a good model: shifted by a pixel, confused in class or invented at low scores only."""
    found = []
    for (x, y, rx, ry), label in true:
        if rng.random() < recall:
            jitter = rng.normal(0, 0.8, 2)
            shape = ellipse(x + jitter[0], y + jitter[1], rx * rng.uniform(0.93, 1.07), ry * rng.uniform(0.93, 1.07))
            score = 0.3 + 0.7 * rng.beta(8, 1)
            found.append((shape, label, score))
            if rng.random() < 0.15:
                found.append((shape, 1 - label, rng.uniform(0.05, 0.3)))
    for x, y in free:
        if rng.random() < 0.4:
            found.append((ellipse(x, y, 10, 8), int(rng.random() < 0.5), 0.05 + 0.5 * rng.beta(1.5, 4)))
    order = np.argsort([-score for *_, score in found], kind="stable")
    return [found[i] for i in order]


def scenes(seed, images=24, **more):
    """Clean scenes."""
    rng = np.random.default_rng(seed)
    return rng, [clean_scene(rng, **more) for _ in range(images)]


def plant(rng, scene, kind):
    """Makes one annotation of a scene wrong; returns its position, None for a removed one."""
    o = int(rng.integers(len(scene.true)))
    shape, label = scene.true[o]
    if kind == "missing_annotation":
        scene.truth[o] = None
        return None
    if kind == "other_class":
        scene.truth[o] = item(ellipse(*shape), 1 - label)
    elif kind == "badly_drawn":
        x, y, rx, ry = shape
        scene.truth[o] = item(ellipse(x + 0.75 * rx, y, rx, ry), label)
    elif kind == "never_found":
        x, y = scene.free[int(rng.integers(len(scene.free)))]
        scene.found = [one for one in scene.found if not _near(one[0], x, y)]
        scene.truth.append(item(ellipse(x, y, rng.uniform(9, 14), rng.uniform(9, 14)), 0))
        return len(scene.truth) - 1
    elif kind == "duplicate":
        x, y, rx, ry = shape
        scene.truth.append(item(ellipse(x + 0.5, y, rx, ry), label))
        return len(scene.truth) - 1
    elif kind == "annotated_as_one":
        other = min(
            (i for i in range(len(scene.true)) if i != o), key=lambda i: _distance(scene.true[i], scene.true[o])
        )
        scene.truth[o] = item(united(ellipse(*shape), ellipse(*scene.true[other][0])), label)
        scene.truth[other] = None
    else:
        assert kind == "annotated_as_several", kind
        x, y, rx, ry = shape
        scene.truth[o] = item(ellipse(x - rx / 2, y, rx / 2, ry), label)
        scene.truth.append(item(ellipse(x + rx / 2, y, rx / 2, ry), label))
    return o


def _distance(one, other):
    return (one[0][0] - other[0][0]) ** 2 + (one[0][1] - other[0][1]) ** 2


def _near(rle, x, y):
    x0, y0, w, h = mask_api.toBbox({**rle, "counts": rle["counts"].encode()})
    return abs(x0 + w / 2 - x) < CELL / 2 and abs(y0 + h / 2 - y) < CELL / 2


def dataset(scene_list, iou_type="segm", max_detections=100, unlabelled=()):
    """The overlaps of scenes, with image ids from 1 on; removed annotations are taken out."""
    for scene in scene_list:
        scene.truth = [one for one in scene.truth if one is not None]
    images = [scene.overlaps(i, iou_type, unlabelled) for i, scene in enumerate(scene_list, start=1)]
    return DatasetOverlaps(images, CLASSES, iou_type, max_detections)
