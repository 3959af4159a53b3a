"""Boundaries of masks, and overlaps of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segkit.evaluation.overlaps import Overlaps, mask_overlaps
from segkit.evaluation.precision import COCO_IOUS
from segkit.structures.masks import InstanceMasks

BAND_ROWS = 256  # of a large mask that are eroded at a time
PIXELS_AT_ONCE = 1 << 25  # of decoded masks, about


def boundary_width(size: tuple[int, int], dilation_ratio: float) -> int:
    """Returns the width of boundaries in pixels: a share of the image's diagonal, at least 1."""
    return max(1, round(dilation_ratio * math.sqrt(size[0] ** 2 + size[1] ** 2)))


def boundary_rles(rles: Sequence[Mapping[str, Any]], size: tuple[int, int], width: int) -> list[Mapping[str, Any]]:
    """Returns the boundary of each mask: its pixels within ``width`` of its outside.

    The distance is the larger one of the distances in x and y, so that a boundary is the mask without its erosion by a
    square of ``2 * width + 1`` pixels. Pixels outside of the image are not of the mask (Cheng et al. 2021, Boundary IoU,
    and its boundary-iou-api).

    Only the crops of masks are decoded, and only of those that are wider and higher than ``2 * width``; the others are all
    boundary.

    Args:
        rles: COCO's compressed RLE.
        size: (H, W) of the image.
        width: in pixels, at least 1.
    """
    from pycocotools import mask as mask_api

    found = list(rles)
    if not found:
        return found
    sides = mask_api.toBbox(found)[:, 2:]
    large = np.flatnonzero((sides > 2 * width).all(axis=1))
    parts = sides[large].prod(axis=1).cumsum() // PIXELS_AT_ONCE
    for part in np.unique(parts):
        chosen = large[parts == part].tolist()
        masks = InstanceMasks.from_rle([found[i] for i in chosen], size)
        for crop in masks.crops():
            _remove_inside(crop.numpy(), width)
        for i, rle in zip(chosen, masks.to_rle(), strict=True):
            found[i] = rle
    return found


def _remove_inside(crop: np.ndarray, width: int) -> None:
    """Sets the pixels of an erosion by a square to 0, in place; uint8 [h, w], both above 2 * width."""
    side = 2 * width + 1
    height = crop.shape[0] - 2 * width
    inside = np.empty((height, crop.shape[1] - 2 * width), bool)
    step = max(BAND_ROWS, 2 * width)
    for start in range(0, height, step):
        rows = crop[start : start + step + 2 * width]
        # Sums over all rectangles that start at the corner; differences are exact even if int32 wraps around.
        sums = np.zeros((rows.shape[0] + 1, rows.shape[1] + 1), np.int32)
        np.cumsum(rows, axis=0, dtype=np.int32, out=sums[1:, 1:])
        np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
        columns = sums[:, side:] - sums[:, :-side]
        inside[start : start + step] = columns[side:] - columns[:-side] == side * side
    crop[width:-width, width:-width][inside] = 0


@dataclass(frozen=True)
class BoundaryOverlaps(Overlaps):
    """Overlapping pairs of masks, whose IoU is the smaller one of mask and boundary IoU.

    Attributes:
        boundary_ious: float64 [P]; NaN for pairs of a mask IoU below 0.5, the smallest threshold, which it cannot change.
    """

    boundary_ious: np.ndarray

    @property
    def mask_ious(self) -> np.ndarray:
        """Intersection over union of the masks: float64 [P]."""
        return super().ious

    @property
    def ious(self) -> np.ndarray:
        """min(mask IoU, boundary IoU): float64 [P]; the mask IoU of pairs below 0.5."""
        return np.fmin(self.mask_ious, self.boundary_ious)

    def select(self, objects: np.ndarray, detections: np.ndarray) -> BoundaryOverlaps:
        kept = objects[self.objects] & detections[self.detections]
        chosen = super().select(objects, detections)
        areas = chosen.object_areas, chosen.detection_areas
        return BoundaryOverlaps(
            chosen.objects, chosen.detections, chosen.intersections, *areas, self.boundary_ious[kept]
        )


def boundary_overlaps(
    masks: Overlaps,
    objects: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    size: tuple[int, int],
    width: int,
) -> BoundaryOverlaps:
    """Adds the boundary IoUs to the overlaps of masks.

    Args:
        masks: the overlaps of the objects and detections.
        objects: RLEs of the M objects.
        detections: RLEs of the N detections.
        size: (H, W) of the image.
        width: of boundaries, in pixels.
    """
    boundary_ious = np.full(len(masks.objects), np.nan)
    near = np.flatnonzero(masks.ious >= COCO_IOUS[0])
    # Only these masks are decoded: the boundary IoU of no other pair decides anything.
    kept = [np.unique(indices[near]) for indices in (masks.objects, masks.detections)]
    chosen = [[rles[i] for i in indices.tolist()] for rles, indices in zip((objects, detections), kept, strict=True)]
    both = boundary_rles([*chosen[0], *chosen[1]], size, width)
    found = mask_overlaps(both[: len(chosen[0])], both[len(chosen[0]) :])
    table = np.zeros((len(kept[0]), len(kept[1])))
    table[found.objects, found.detections] = found.ious
    rows, columns = (
        np.searchsorted(indices, of_pair[near])
        for indices, of_pair in zip(kept, (masks.objects, masks.detections), strict=True)
    )
    boundary_ious[near] = table[rows, columns]
    return BoundaryOverlaps(
        masks.objects, masks.detections, masks.intersections, masks.object_areas, masks.detection_areas, boundary_ious
    )
