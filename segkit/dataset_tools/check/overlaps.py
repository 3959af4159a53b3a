"""Pairs of objects of one image that are equal, nearly equal, or overlap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segkit.dataset_tools.overlaps import meeting_pairs, pairs_with_next, shared_pixels
from segkit.structures.ragged import arrays
from segkit.structures.targets import Targets

NEAR = 0.95  # IoU above which two objects are near-duplicates


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
    counts = np.where(by_area > 0, ends - np.arange(len(order)) - 1, 0)
    crops = _crops(targets)
    pairs: list[Pair] = []
    for small, large in pairs_with_next(counts):
        first, second = order[small], order[large]
        sides = np.minimum(boxes[first, 2:], boxes[second, 2:]) - np.maximum(boxes[first, :2], boxes[second, :2])
        shared = sides.clip(min=0).prod(1)  # of the boxes: an upper bound for that of the masks
        larger = np.maximum(areas[first], areas[second])
        near = (shared > threshold * larger * (1 - 1e-9)) & (has_mask[first] == has_mask[second])
        for a, b, both in zip(first[near].tolist(), second[near].tolist(), shared[near].tolist(), strict=True):
            both = shared_pixels(*crops[a], *crops[b]) if has_mask[a] else both
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
    first, second = (usable[indices] for indices in meeting_pairs(boxes[usable]))
    labels, crops = targets.labels.numpy(), _crops(targets)
    pairs = []
    for a, b in np.sort(np.stack([first, second], 1)[labels[first] == labels[second]], 1).tolist():
        if shared := shared_pixels(*crops[a], *crops[b]):
            pairs.append((a, b, shared))
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


def _crops(targets: Targets) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """The crop of each mask and its corner; empty without masks."""
    if targets.masks is None:
        return []
    crop_boxes = targets.masks.crop_boxes
    corners = [(x, y) for x, y, _, _ in crop_boxes.tolist()]
    return list(zip(arrays(targets.masks.bits, crop_boxes), corners, strict=True))
