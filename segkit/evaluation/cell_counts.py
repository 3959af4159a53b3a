"""Counts and areas that metrics of cells are computed from; they add up over images."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from segkit.evaluation.overlaps import Overlaps, assign

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10).round(2)
IOU_50 = 0  # position of 0.5 in IOU_THRESHOLDS
BACKGROUND_IOU = 0.1  # below it an object and a detection have nothing to do with each other (TIDE's threshold)


def _thresholds() -> np.ndarray:
    return np.zeros(len(IOU_THRESHOLDS))


@dataclass
class CellCounts:
    """Counts and areas (in pixels) of objects and detections, which can be added.

    Attributes:
        objects: objects, M in the formulas of :func:`count_cells`.
        detections: detections, N there.
        true_positives: [10] matched pairs at each of ``IOU_THRESHOLDS``.
        matched_ious: [10] sum of their IoUs.
        split: objects without a match, in which two or more detections without one mostly lie.
        merged: objects without a match, mostly covered by a detection that so covers two or more objects.
        missed: other objects without a match and without a detection at IoU 0.1.
        spurious: detections without a match that lie mostly outside of each object and reach IoU 0.1 with none.
        aji_intersection: of AJI's fraction.
        aji_union: likewise.
        aji_plus_intersection: of AJI+'s fraction.
        aji_plus_union: likewise.
        object_dice: sum of the objects' Dice coefficients, each times the object's area.
        object_area: sum of the objects' areas.
        detection_dice: likewise of the detections.
        detection_area: likewise.
    """

    objects: float = 0
    detections: float = 0
    true_positives: np.ndarray = field(default_factory=_thresholds)
    matched_ious: np.ndarray = field(default_factory=_thresholds)
    split: float = 0
    merged: float = 0
    missed: float = 0
    spurious: float = 0
    aji_intersection: float = 0
    aji_union: float = 0
    aji_plus_intersection: float = 0
    aji_plus_union: float = 0
    object_dice: float = 0
    object_area: float = 0
    detection_dice: float = 0
    detection_area: float = 0

    def __add__(self, other: CellCounts) -> CellCounts:
        return CellCounts(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


def match_at(overlaps: Overlaps, threshold: float) -> np.ndarray:
    """Returns the one-to-one match of the most pairs at an IoU threshold: bool [P].

    Among the matches of as many pairs it is the one of the largest sum of IoUs, as StarDist's and Cellpose's. Without
    overlaps among the objects, and among the detections, at most one pair a detection exceeds IoU 0.5 (Kirillov et al.
    2019, Panoptic Segmentation, section 4.1).

    Args:
        overlaps: P pairs.
        threshold: smallest IoU of a match.
    """
    ious = overlaps.ious
    possible = np.flatnonzero(ious >= threshold)
    matched = np.zeros(len(ious), bool)
    if len(possible):
        # All IoUs together weigh less than one pair.
        weights = 1 + ious[possible] / (2 * len(possible))
        matched[possible] = assign(overlaps.objects[possible], overlaps.detections[possible], weights)
    return matched


def count_cells(overlaps: Overlaps) -> CellCounts:
    """Counts what the metrics of one image, or of one class in it, are computed from.

    - AJI (Kumar et al. 2017, A Dataset and a Technique for Generalized Nuclear Segmentation, algorithm 1): each object is
      paired with the detection of the highest IoU, which several objects may share; ``sum of intersections / (sum of
      unions + areas of detections in no pair)``, an object without an overlap being a union of its own.
    - AJI+ (Graham et al. 2019, HoVer-Net): the same with the one-to-one pairs of the largest sum of IoUs.
    - Dice of an object (Sirinukunwattana et al. 2017, Gland Segmentation Challenge, equation 5): ``2 I / (A + B)`` with the
      detection that shares the most pixels, 0 without one; of a detection likewise.

    Args:
        overlaps: of the objects and detections, without those that count neither way.
    """
    objects, detections = len(overlaps.object_areas), len(overlaps.detection_areas)
    counts = CellCounts(objects=objects, detections=detections)
    ious = overlaps.ious
    matched = match_at(overlaps, IOU_THRESHOLDS[IOU_50])
    alone = bool((matched == (ious >= IOU_THRESHOLDS[IOU_50])).all())  # no pair competes with another one
    for t, threshold in enumerate(IOU_THRESHOLDS):
        pairs = matched & (ious >= threshold) if alone or t == IOU_50 else match_at(overlaps, threshold)
        counts.true_positives[t], counts.matched_ious[t] = pairs.sum(), ious[pairs].sum()
    _count_errors(counts, overlaps, matched)
    best = _first_of_largest(overlaps.objects, ious)
    counts.aji_intersection, counts.aji_union = _aji(overlaps, best)
    one_to_one = assign(overlaps.objects, overlaps.detections, ious)
    counts.aji_plus_intersection, counts.aji_plus_union = _aji(overlaps, one_to_one)
    counts.object_dice = _dice(overlaps, overlaps.objects, overlaps.object_areas)
    counts.detection_dice = _dice(overlaps, overlaps.detections, overlaps.detection_areas)
    counts.object_area, counts.detection_area = overlaps.object_areas.sum(), overlaps.detection_areas.sum()
    return counts


def _count_errors(counts: CellCounts, overlaps: Overlaps, matched: np.ndarray) -> None:
    """Sets ``split``, ``merged``, ``missed`` and ``spurious``; ``matched``: the pairs at IoU 0.5, bool [P]."""
    of_object, of_detection, shared = overlaps.objects, overlaps.detections, overlaps.intersections
    lost = _without(len(overlaps.object_areas), of_object[matched])
    wrong = _without(len(overlaps.detection_areas), of_detection[matched])
    inside = shared > overlaps.detection_areas[of_detection] / 2  # most of the detection lies in the object
    covers = shared > overlaps.object_areas[of_object] / 2
    merging = np.bincount(of_detection[covers], minlength=len(wrong)) >= 2
    merged = lost & _any(of_object[covers & merging[of_detection]], len(lost))
    split = lost & ~merged & (np.bincount(of_object[inside & wrong[of_detection]], minlength=len(lost)) >= 2)
    near = overlaps.ious >= BACKGROUND_IOU
    counts.merged, counts.split = int(merged.sum()), int(split.sum())
    counts.missed = int((lost & ~merged & ~split & ~_any(of_object[near], len(lost))).sum())
    counts.spurious = int((wrong & ~_any(of_detection[near | inside], len(wrong))).sum())


def _any(indices: np.ndarray, count: int) -> np.ndarray:
    """Which of ``count`` things are among the indices: bool [count]."""
    return np.bincount(indices, minlength=count) > 0


def _without(count: int, indices: np.ndarray) -> np.ndarray:
    return ~_any(indices, count)


def _first_of_largest(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The pair of the largest value in each group, the first of several: bool [P]."""
    order = np.lexsort((-values, groups))
    first = np.diff(groups[order], prepend=-1) != 0
    chosen = np.zeros(len(groups), bool)
    chosen[order[first]] = True
    return chosen


def _aji(overlaps: Overlaps, pairs: np.ndarray) -> tuple[float, float]:
    """The intersection and the union of AJI, or of AJI+, for its pairs (bool [P])."""
    unpaired = [
        areas[_without(len(areas), indices[pairs])].sum()
        for areas, indices in (
            (overlaps.object_areas, overlaps.objects),
            (overlaps.detection_areas, overlaps.detections),
        )
    ]
    return overlaps.intersections[pairs].sum(), overlaps.unions[pairs].sum() + sum(unpaired)


def _dice(overlaps: Overlaps, groups: np.ndarray, areas: np.ndarray) -> float:
    """Sum of Dice times area over objects, or over detections."""
    best = _first_of_largest(groups, overlaps.intersections)
    both = overlaps.object_areas[overlaps.objects[best]] + overlaps.detection_areas[overlaps.detections[best]]
    return float((areas[groups[best]] * 2 * overlaps.intersections[best] / both).sum())
