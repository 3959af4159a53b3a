"""Scenes of cells and of a model with every kind of error at a low rate, in which faults are planted."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps
from segkit.evaluation.overlaps import box_overlaps

CLASSES = ["round", "long", "odd"]
SIZE = 320


@dataclass
class Scene:
    """One image: boxes XYWH, labels and scores of objects and detections.

    ``owners``: the object that each detection was made from, -1 for none.
    """

    objects: np.ndarray
    object_labels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    owners: np.ndarray
    size: tuple[int, int] = (SIZE, SIZE)
    mask_boxes: np.ndarray | None = field(default=None)

    def keep(self, chosen: np.ndarray) -> None:
        """Keeps the chosen detections (bool [N])."""
        for name in ("boxes", "labels", "scores", "owners"):
            setattr(self, name, getattr(self, name)[chosen])

    def add(self, boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> None:
        """Adds detections of no object."""
        self.boxes = np.concatenate([self.boxes, boxes.reshape(-1, 4)])
        self.labels = np.concatenate([self.labels, labels])
        self.scores = np.concatenate([self.scores, scores])
        self.owners = np.concatenate([self.owners, np.full(len(labels), -1)])


def cells(
    rng: np.random.Generator, count: int, sides: tuple[float, float], pitch: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [count, 4] on a jittered grid, so that they do not overlap, and labels [count]."""
    pitch = pitch or sides[1] + 3
    slots = int(SIZE // pitch)
    chosen = rng.choice(slots**2, min(count, slots**2), replace=False)
    side = np.exp(rng.uniform(*np.log(sides), (len(chosen), 1))) * rng.uniform(0.85, 1.15, (len(chosen), 2))
    side = np.minimum(side, pitch - 1)
    corner = np.stack([chosen % slots, chosen // slots], axis=1) * pitch
    corner = corner + rng.uniform(0, 1, corner.shape) * (pitch - side)
    return np.concatenate([corner, side], axis=1), rng.choice(len(CLASSES), len(chosen), p=[0.5, 0.3, 0.2])


def scene(
    rng: np.random.Generator, count: int = 40, sides: tuple[float, float] = (9.0, 28.0), pitch: float = 0.0
) -> Scene:
    """An image, and a model that finds most objects, with some errors of every kind."""
    objects, object_labels = cells(rng, count, sides, pitch)
    total = len(objects)
    found = np.flatnonzero(rng.random(total) < 0.94)
    side = objects[found, 2:]
    boxes = objects[found] + np.concatenate([side, side], axis=1) * rng.normal(0, 0.045, (len(found), 4))
    labels = np.where(rng.random(len(found)) < 0.03, (object_labels[found] + 1) % len(CLASSES), object_labels[found])
    one = Scene(objects, object_labels, boxes, labels, rng.beta(6, 2, len(found)), found)
    # Poor boxes, second detections, background, and parts of objects.
    poor = rng.random(len(found)) < 0.05
    one.boxes[poor] += np.concatenate([side, side], axis=1)[poor] * rng.normal(0, 0.2, (int(poor.sum()), 4))
    again = rng.random(len(found)) < 0.05
    one.add(boxes[again] + rng.normal(0, 0.5, (int(again.sum()), 4)), labels[again], rng.uniform(0.1, 0.5, again.sum()))
    spots = max(1, total // 12)
    places = np.concatenate([rng.uniform(0, SIZE - 20, (spots, 2)), rng.uniform(6, 20, (spots, 2))], axis=1)
    one.add(places, rng.integers(0, len(CLASSES), spots), rng.beta(2, 4, spots))
    merge(rng, one, 0.03)
    split(rng, one, 0.02)
    return one


def scenes(seed: int, images: int = 12, **options) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [scene(rng, **options) for _ in range(images)]


def miss(rng: np.random.Generator, one: Scene, chosen: np.ndarray, rate: float) -> None:
    """Removes the detections of a share of the chosen objects (bool [M])."""
    lost = chosen & (rng.random(len(chosen)) < rate)
    one.keep((one.owners < 0) | ~lost[one.owners])


def neighbours(one: Scene) -> list[tuple[int, int]]:
    """Pairs of objects of one class, each object in one pair; the nearest first."""
    centres = one.objects[:, :2] + one.objects[:, 2:] / 2
    far = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    far[one.object_labels[:, None] != one.object_labels[None]] = np.inf
    pairs, taken = [], set()
    for i, j in zip(*np.unravel_index(np.argsort(far, axis=None), far.shape), strict=True):
        if i < j and np.isfinite(far[i, j]) and far[i, j] < 45 and not {i, j} & taken:
            pairs.append((int(i), int(j)))
            taken |= {i, j}
    return pairs


def around(boxes: np.ndarray) -> np.ndarray:
    low, high = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return np.concatenate([low, high - low])


def merge(rng: np.random.Generator, one: Scene, rate: float) -> None:
    """Two neighbours are one detection, for a share of the pairs."""
    for pair in neighbours(one):
        if rng.random() < rate:
            label = one.object_labels[pair[0]]
            one.keep(~np.isin(one.owners, pair))
            one.add(around(one.objects[list(pair)]), np.array([label]), rng.beta(6, 2, 1))


def merge_labels(rng: np.random.Generator, one: Scene, rate: float) -> None:
    """Two neighbours have one annotation, for a share of the pairs."""
    gone = []
    for i, j in neighbours(one):
        if rng.random() < rate:
            one.objects[i] = around(one.objects[[i, j]])
            gone.append(j)
    kept = np.setdiff1d(np.arange(len(one.objects)), gone)
    one.objects, one.object_labels = one.objects[kept], one.object_labels[kept]
    one.owners = np.full(len(one.owners), -1)


def split(rng: np.random.Generator, one: Scene, rate: float) -> None:
    """A share of the objects is detected in two or three parts."""
    for index in np.flatnonzero(rng.random(len(one.objects)) < rate):
        x, y, width, height = one.objects[index]
        parts = int(rng.integers(2, 4))
        starts = x + width * np.arange(parts) / parts
        boxes = np.stack([starts, np.full(parts, y), np.full(parts, width / parts), np.full(parts, height)], axis=1)
        one.keep(one.owners != index)
        # Two parts of equal size both reach IoU 0.5: halves are made smaller.
        boxes[:, 3] *= rng.uniform(0.75, 0.9)
        one.add(boxes, np.full(parts, one.object_labels[index]), rng.beta(6, 2, parts))


def overlaps(found: list[Scene], classes: list[str] = CLASSES) -> DatasetOverlaps:
    """The overlaps of the scenes' boxes."""
    images = []
    for number, one in enumerate(found):
        boxes = one.boxes.astype(np.float64)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], 1.0)
        images.append(
            ImageOverlaps(
                number + 1,
                one.size,
                box_overlaps(one.objects, boxes),
                one.object_labels.astype(np.int64),
                one.objects,
                one.objects[:, 2:].prod(axis=1),
                np.arange(len(one.objects)),
                one.labels.astype(np.int64),
                one.scores.astype(np.float64),
                boxes,
                np.zeros(len(boxes)),
            )
        )
    return DatasetOverlaps(images, classes, "bbox", max([100, *[len(one.scores) for one in found]]))


def with_masks(data: DatasetOverlaps, offset: tuple[float, float], iou_loss: float = 0.0) -> DatasetOverlaps:
    """The same data with masks that fill their boxes, moved by an offset from these.

    ``iou_loss``: share of each intersection that the masks lose by coarse outlines.
    """
    images = []
    for image in data.images:
        moved = image.boxes + np.array([*offset, 0.0, 0.0])
        pairs = box_overlaps(image.object_boxes, moved)
        pairs = dataclasses.replace(pairs, intersections=pairs.intersections * (1 - iou_loss))
        images.append(dataclasses.replace(image, overlaps=pairs, mask_boxes=moved))
    return dataclasses.replace(data, images=images, iou_type="segm")
