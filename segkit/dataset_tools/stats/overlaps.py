"""Overlap and touch between the objects of an image, without dense masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


def meeting_pairs(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of all pairs of boxes [N, 4] that overlap or are less than a pixel apart."""
    order = np.argsort(boxes[:, 0], kind="stable")
    left, right = boxes[order, 0], boxes[order, 2]
    ends = np.searchsorted(left, right + 1, side="left")  # the boxes that begin before this one ends
    counts = np.maximum(ends - np.arange(len(boxes)) - 1, 0)
    first = np.repeat(np.arange(len(boxes)), counts)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    first, second = order[first], order[second]
    apart = np.maximum(boxes[first, 1], boxes[second, 1]) - np.minimum(boxes[first, 3], boxes[second, 3])
    return first[apart < 1], second[apart < 1]


def _compare_masks(
    masks: InstanceMasks, has_mask: np.ndarray, first: np.ndarray, second: np.ndarray, found: Overlaps
) -> None:
    """Fills in ``mask_iou`` and ``touching`` for the pairs."""
    crops = [crop.numpy().astype(bool) for crop in masks.crops()]
    boxes, areas = masks.crop_boxes.tolist(), masks.areas().tolist()
    grown: dict[int, np.ndarray] = {}
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        if not (has_mask[i] and has_mask[j]):
            continue
        if i not in grown:
            grown[i] = _grow(crops[i])
        x0, y0, x1, y1 = boxes[i]
        around = _window([x0 - 1, y0 - 1, x1 + 1, y1 + 1], boxes[j])
        if (
            around is None
            or not (_cut(grown[i], (x0 - 1, y0 - 1), around) & _cut(crops[j], (boxes[j][0], boxes[j][1]), around)).any()
        ):
            continue
        found.touching[[i, j]] = True
        inside = _window(boxes[i], boxes[j])
        if inside is not None:
            shared = int((_cut(crops[i], (x0, y0), inside) & _cut(crops[j], (boxes[j][0], boxes[j][1]), inside)).sum())
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


def _window(a: list[int], b: list[int]) -> tuple[int, int, int, int] | None:
    """The common part of two pixel boxes; None if it is empty."""
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _cut(crop: np.ndarray, corner: tuple[int, int], window: tuple[int, int, int, int]) -> np.ndarray:
    """The part of a crop, whose left upper corner is given, inside a window of the image."""
    (left, top), (x0, y0, x1, y1) = corner, window
    return crop[y0 - top : y1 - top, x0 - left : x1 - left]
