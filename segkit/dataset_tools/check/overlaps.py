"""Pairs of objects of one image that are equal, nearly equal, or overlap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segkit.structures.runs import ragged_arange
from segkit.structures.targets import Targets

NEAR = 0.95  # IoU above which two objects are near-duplicates
MAX_CANDIDATES = 1 << 20  # pairs of objects whose boxes are compared at once


class Pair(NamedTuple):
    """Two objects of an image, ``first < second``, and their IoU."""

    first: int
    second: int
    iou: float


def alike_pairs(targets: Targets, threshold: float = NEAR) -> list[Pair]:
    """Pairs of objects whose masks, or boxes if neither has a mask, have a high IoU.

    Crowd regions are compared too. Candidates are found by boxes and areas, so that few masks are compared.

    Args:
        targets: of one image, on the CPU.
        threshold: IoU above which objects are a pair.
    """
    if len(targets) < 2:
        return []
    boxes, has_mask, areas = _shapes(targets)
    order = np.argsort(areas, kind="stable")
    by_area = areas[order]
    # Objects are compared with those that are larger, up to the factor at which the IoU cannot reach the threshold.
    ends = np.searchsorted(by_area, by_area / threshold, side="right")
    counts = np.maximum(ends - np.arange(len(order)) - 1, 0)
    counts[by_area == 0] = 0
    pairs: list[Pair] = []
    start = 0
    while start < len(order):
        stop = start + max(1, int(np.searchsorted(counts[start:].cumsum(), MAX_CANDIDATES, side="right")))
        smaller = np.repeat(np.arange(start, stop), counts[start:stop])
        first, second = order[smaller], order[smaller + 1 + ragged_arange(counts[start:stop])]
        start = stop
        sides = np.minimum(boxes[first, 2:], boxes[second, 2:]) - np.maximum(boxes[first, :2], boxes[second, :2])
        shared = sides.clip(min=0).prod(1)  # of the boxes: an upper bound for that of the masks
        larger = np.maximum(areas[first], areas[second])
        near = (shared > threshold * larger * (1 - 1e-9)) & (has_mask[first] == has_mask[second])
        for a, b, both in zip(first[near].tolist(), second[near].tolist(), shared[near].tolist(), strict=True):
            both = _mask_overlap(targets, boxes, a, b) if has_mask[a] else both
            iou = float(both / (areas[a] + areas[b] - both))
            if iou > threshold:
                pairs.append(Pair(min(a, b), max(a, b), iou))
    return sorted(pairs)


def overlapping_pairs(targets: Targets) -> list[tuple[int, int, int]]:
    """Pairs of objects of one class whose masks share pixels.

    Each pair is two indices and the number of shared pixels. Crowd regions and objects without a mask are not compared.
    """
    boxes, has_mask, _ = _shapes(targets)
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
            shared = _mask_overlap(targets, boxes, first, second)
            if shared:
                pairs.append((min(first, second), max(first, second), int(shared)))
    return sorted(pairs)


def _shapes(targets: Targets) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [N, 4], which objects have a mask [N], and areas [N]."""
    boxes = targets.boxes.numpy().astype(np.float64)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    has_mask = targets.has_mask.numpy()
    if targets.masks is None:
        return boxes, has_mask, areas
    boxes = np.where(has_mask[:, None], targets.masks.crop_boxes.numpy(), boxes)
    areas = np.where(has_mask, targets.masks.areas().numpy(), areas).astype(np.float64)
    return boxes, has_mask, areas


def _mask_overlap(targets: Targets, boxes: np.ndarray, first: int, second: int) -> float:
    """Number of pixels that two masks share."""
    (ax, ay, ar, ab), (bx, by, br, bb) = boxes[[first, second]].astype(int).tolist()
    x0, y0 = max(ax, bx), max(ay, by)
    x1, y1 = min(ar, br), min(ab, bb)
    if x1 <= x0 or y1 <= y0:
        return 0.0
    masks = targets.masks
    assert masks is not None
    bits = masks.bits.numpy()
    starts, ends = masks.offsets[[first, second]].tolist(), masks.offsets[[first + 1, second + 1]].tolist()
    a = bits[starts[0] : ends[0]].reshape(ab - ay, ar - ax)[y0 - ay : y1 - ay, x0 - ax : x1 - ax]
    b = bits[starts[1] : ends[1]].reshape(bb - by, br - bx)[y0 - by : y1 - by, x0 - bx : x1 - bx]
    return float(np.count_nonzero(a & b))
