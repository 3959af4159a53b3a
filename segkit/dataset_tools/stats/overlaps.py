"""Overlap and touch between the objects of an image, without dense masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segkit.dataset_tools.overlaps import meeting_pairs, shared_pixels
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets

CONTAINED = 0.9  # share of a box inside another from which it counts as contained


@dataclass(frozen=True)
class Overlaps:
    """How each of an image's N objects meets the others.

    Attributes:
        box_iou: float32 [N], largest IoU of the box with another object's.
        contained: bool [N], at least ``CONTAINED`` of the box lies in another object's box.
        mask_iou: float32 [N], largest IoU of the mask with another object's; 0 without a mask.
        touching: bool [N], the mask shares a pixel with another object's or has a pixel next to one (four neighbours).
    """

    box_iou: np.ndarray
    contained: np.ndarray
    mask_iou: np.ndarray
    touching: np.ndarray


def measure_overlaps(targets: Targets) -> Overlaps:
    """Overlaps of the objects of one image; only pairs whose boxes meet are looked at."""
    boxes = targets.boxes.numpy().astype(np.float64)
    count = len(boxes)
    first, second = meeting_pairs(boxes)
    found = Overlaps(
        np.zeros(count, np.float32), np.zeros(count, bool), np.zeros(count, np.float32), np.zeros(count, bool)
    )
    if not len(first):
        return found
    a, b = boxes[first], boxes[second]
    shared = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0).prod(1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)
    iou = shared / np.maximum(area_a + area_b - shared, 1e-9)
    for index, area in ((first, area_a), (second, area_b)):
        np.maximum.at(found.box_iou, index, iou.astype(np.float32))
        np.logical_or.at(found.contained, index, shared >= CONTAINED * np.maximum(area, 1e-9))
    if targets.masks is not None:
        _compare_masks(targets.masks, targets.has_mask.numpy(), first, second, found)
    return found


def _compare_masks(
    masks: InstanceMasks, has_mask: np.ndarray, first: np.ndarray, second: np.ndarray, found: Overlaps
) -> None:
    """Fills in ``mask_iou`` and ``touching`` for the pairs."""
    crops = [crop.numpy().astype(bool) for crop in masks.crops()]
    corners = [(x, y) for x, y, _, _ in masks.crop_boxes.tolist()]
    areas = masks.areas().tolist()
    grown: dict[int, np.ndarray] = {}
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        if not (has_mask[i] and has_mask[j]):
            continue
        if i not in grown:
            grown[i] = _grow(crops[i])
        if not shared_pixels(grown[i], (corners[i][0] - 1, corners[i][1] - 1), crops[j], corners[j]):
            continue
        found.touching[[i, j]] = True
        shared = shared_pixels(crops[i], corners[i], crops[j], corners[j])
        iou = shared / max(areas[i] + areas[j] - shared, 1)
        found.mask_iou[i], found.mask_iou[j] = max(found.mask_iou[i], iou), max(found.mask_iou[j], iou)


def _grow(crop: np.ndarray) -> np.ndarray:
    """A crop with a border of one pixel, and its pixels' four neighbours set."""
    padded = np.pad(crop, 1)
    result = padded.copy()
    result[:-1] |= padded[1:]
    result[1:] |= padded[:-1]
    result[:, :-1] |= padded[:, 1:]
    result[:, 1:] |= padded[:, :-1]
    return result
