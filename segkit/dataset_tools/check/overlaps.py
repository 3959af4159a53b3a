"""Pairs of objects of one image that are equal, nearly equal, or overlap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segkit.structures.targets import Targets

NEAR = 0.95  # IoU above which two objects are near-duplicates
ROWS = 256  # objects whose boxes are compared with all others at once


class Pair(NamedTuple):
    """Two objects of an image, ``first < second``, and their IoU."""

    first: int
    second: int
    iou: float


def alike_pairs(targets: Targets, threshold: float = NEAR) -> list[Pair]:
    """Pairs of objects whose masks (or boxes, if neither has a mask) have an IoU above a threshold.

    Crowd regions are compared too. Candidates are found by boxes and areas, so that few masks are compared.

    Args:
        targets: of one image, on the CPU.
        threshold: 0..1.
    """
    count = len(targets)
    if count < 2:
        return []
    boxes, has_mask, areas, crops = _shapes(targets)
    pairs: list[Pair] = []
    for start in range(0, count, ROWS):
        rows = np.arange(start, min(start + ROWS, count))
        sides = np.minimum(boxes[rows, None, 2:], boxes[None, :, 2:]) - np.maximum(
            boxes[rows, None, :2], boxes[None, :, :2]
        )
        shared = sides.clip(min=0).prod(2)  # of the boxes: an upper bound for that of the masks
        larger = np.maximum(areas[rows, None], areas[None])
        possible = (shared > threshold * larger * (1 - 1e-9)) & (has_mask[rows, None] == has_mask[None])
        possible &= np.minimum(areas[rows, None], areas[None]) > threshold * larger * (1 - 1e-9)
        possible &= rows[:, None] < np.arange(count)[None]
        for row, second in zip(*possible.nonzero(), strict=True):
            first = int(rows[row])
            both = _mask_overlap(crops, boxes, first, int(second)) if has_mask[first] else float(shared[row, second])
            iou = both / (areas[first] + areas[second] - both)
            if iou > threshold:
                pairs.append(Pair(first, int(second), float(iou)))
    return pairs


def overlapping_pairs(targets: Targets) -> list[tuple[int, int, int]]:
    """Pairs of objects of one class whose masks share pixels: indices, and the number of shared pixels.

    Crowd regions and objects without a mask are not compared.
    """
    boxes, has_mask, _, crops = _shapes(targets)
    usable = np.flatnonzero(has_mask & ~targets.crowd.numpy())
    labels = targets.labels.numpy()
    order = usable[np.argsort(boxes[usable, 0], kind="stable")]
    pairs = []
    lefts = boxes[order, 0]
    for position, first in enumerate(order.tolist()):
        end = np.searchsorted(lefts, boxes[first, 2], side="left")  # the others begin right of its right side
        others = order[position + 1 : end]
        near = (boxes[others, 1] < boxes[first, 3]) & (boxes[others, 3] > boxes[first, 1])
        for second in others[near & (labels[others] == labels[first])].tolist():
            shared = _mask_overlap(crops, boxes, first, second)
            if shared:
                pairs.append((min(first, second), max(first, second), int(shared)))
    return sorted(pairs)


def _shapes(targets: Targets) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Boxes [N, 4], which objects have a mask [N], areas [N], and the crops of the masks."""
    boxes = targets.boxes.numpy().astype(np.float64)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    has_mask = targets.has_mask.numpy()
    if targets.masks is None:
        return boxes, has_mask, areas, []
    boxes = np.where(has_mask[:, None], targets.masks.crop_boxes.numpy(), boxes)
    areas = np.where(has_mask, targets.masks.areas().numpy(), areas).astype(np.float64)
    return boxes, has_mask, areas, [crop.numpy() for crop in targets.masks.crops()]


def _mask_overlap(crops: list[np.ndarray], boxes: np.ndarray, first: int, second: int) -> float:
    """Number of pixels that two masks share."""
    (ax, ay, _, _), (bx, by, _, _) = boxes[first].astype(int).tolist(), boxes[second].astype(int).tolist()
    x0, y0 = max(ax, bx), max(ay, by)
    x1, y1 = np.minimum(boxes[first, 2:], boxes[second, 2:]).astype(int).tolist()
    if x1 <= x0 or y1 <= y0:
        return 0.0
    a = crops[first][y0 - ay : y1 - ay, x0 - ax : x1 - ax]
    b = crops[second][y0 - by : y1 - by, x0 - bx : x1 - bx]
    return float(np.count_nonzero(a & b))
