"""COCO's greedy matching of an image's detections with its objects, on their overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segkit.evaluation.image_overlaps import ImageOverlaps
from segkit.evaluation.precision import COCO_IOUS

ANY_AREA = (0.0, 1e10)


@dataclass(frozen=True)
class Matches:
    """Which object each of N detections is matched with, at T IoU thresholds.

    A true positive has a match and is not ignored; a false positive has neither.

    Attributes:
        objects: int64 [T, N], the matched object; -1 without a match.
        ignored: bool [T, N], whether the detection counts neither way.
        ignored_objects: bool [M], objects that count neither as found nor as missed: those outside of the range of
            areas, and others that are ignored.
    """

    objects: np.ndarray
    ignored: np.ndarray
    ignored_objects: np.ndarray

    @property
    def true_positives(self) -> np.ndarray:
        """bool [T, N]."""
        return (self.objects >= 0) & ~self.ignored

    @property
    def false_positives(self) -> np.ndarray:
        """bool [T, N]."""
        return (self.objects < 0) & ~self.ignored


def match_detections(
    image: ImageOverlaps,
    thresholds: Sequence[float] | np.ndarray = COCO_IOUS,
    *,
    area_range: tuple[float, float] = ANY_AREA,
    ignored_objects: np.ndarray | None = None,
    max_detections: int | None = None,
) -> Matches:
    """Matches detections with the objects of their class, as pycocotools' ``evaluateImg`` does.

    In the order of their scores, each detection takes the free object of the largest IoU, if that reaches the threshold.

    Args:
        image: the overlaps.
        thresholds: T IoUs.
        area_range: smallest and largest area in pixels; objects of other areas, the detections matched with them, and
            unmatched detections of other areas are ignored.
        ignored_objects: bool [M], further objects that are ignored, and with them the detections matched with them.
        max_detections: a class's further detections, with lower scores, are ignored; None: all count.
    """
    pairs, low, high = image.overlaps, *area_range
    others = np.zeros(len(image.object_areas), bool) if ignored_objects is None else ignored_objects
    ignored_objects = others | (image.object_areas < low) | (image.object_areas > high)
    outside = (pairs.detection_areas < low) | (pairs.detection_areas > high)
    order = np.argsort(-image.scores, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    surplus = np.zeros(len(order), bool)
    if max_detections is not None:
        for label in np.unique(image.labels):
            surplus[order[image.labels[order] == label][max_detections:]] = True
    limits = np.minimum(np.asarray(thresholds, np.float64), 1 - 1e-10)
    same = image.object_labels[pairs.objects] == image.labels[pairs.detections]
    same &= ~surplus[pairs.detections]
    ious = pairs.ious
    near = np.flatnonzero(same & (ious >= limits.min(initial=1.0)))
    # The best pair of a detection first; pycocotools takes the last one of equal IoUs.
    near = near[
        np.lexsort(
            (-pairs.objects[near], -ious[near], ignored_objects[pairs.objects[near]], rank[pairs.detections[near]])
        )
    ]
    objects, detections, ious = pairs.objects[near], pairs.detections[near], ious[near]
    matched = np.full((len(limits), len(order)), -1, np.int64)
    alone = (np.bincount(objects, minlength=1)[objects] == 1) & (np.bincount(detections, minlength=1)[detections] == 1)
    contested = [list(values[~alone].tolist()) for values in (objects, detections, ious)]
    for t, limit in enumerate(limits):
        chosen = alone & (ious >= limit)
        matched[t, detections[chosen]] = objects[chosen]
        taken: set[int] = set()
        done: set[int] = set()
        for o, d, iou in zip(*contested, strict=True):
            if iou >= limit and d not in done and o not in taken:
                matched[t, d] = o
                taken.add(o)
                done.add(d)
    found = matched >= 0
    ignored = np.zeros(found.shape, bool)
    ignored[found] = ignored_objects[matched[found]]
    ignored |= ~found & (outside | (image.ignored_shares >= limits[:, None]))
    ignored |= surplus
    return Matches(matched, ignored, ignored_objects)
