"""Objects and detections of a data set in one table, and its AP after errors are mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segkit.diagnosis.findings import Example
from segkit.evaluation.greedy_matching import Matches, match_detections
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.evaluation.precision import COCO_IOUS, interpolated_precision

MOST_EXAMPLES = 48


@dataclass(frozen=True)
class Ranking:
    """All M objects and N detections of a data set, and how they match at T IoU thresholds.

    Objects and detections are numbered image after image.

    Attributes:
        data: the overlaps of all images.
        object_images: int64 [M], position of each object's image.
        object_labels: int64 [M].
        object_boxes: float64 [M, 4] XYWH.
        images: int64 [N], position of each detection's image.
        labels: int64 [N].
        scores: float64 [N].
        boxes: float64 [N, 4] XYWH.
        mask_boxes: float64 [N, 4] XYWH, boxes of the masks; without masks, ``boxes``.
        object_areas: float64 [M], of masks, or of boxes.
        areas: float64 [N], likewise.
        pairs: int64 [P, 2], object and detection of each pair that overlaps, of any classes.
        ious: float64 [P].
        shared: float64 [P], area in common.
        matched: int64 [T, N], object of each detection, -1 without.
        true: bool [T, N], true positives.
        false: bool [T, N], false positives.
    """

    data: DatasetOverlaps
    object_images: np.ndarray
    object_labels: np.ndarray
    object_boxes: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    mask_boxes: np.ndarray
    object_areas: np.ndarray
    areas: np.ndarray
    pairs: np.ndarray
    ious: np.ndarray
    shared: np.ndarray
    matched: np.ndarray
    true: np.ndarray
    false: np.ndarray

    @classmethod
    def of(cls, data: DatasetOverlaps, thresholds: np.ndarray = COCO_IOUS) -> tuple[Ranking, list[Matches]]:
        """Matches all images; returns the table, and the matches of each image."""
        images = data.images
        matches = [match_detections(image, thresholds, max_detections=data.max_detections) for image in images]
        objects = np.cumsum([0, *[len(image.object_labels) for image in images]])
        detections = np.cumsum([0, *[len(image.labels) for image in images]])
        pairs = [
            np.stack([image.overlaps.objects + objects[i], image.overlaps.detections + detections[i]], axis=1)
            for i, image in enumerate(images)
        ]
        nothing = np.zeros((len(thresholds), 0))
        matched = [np.where(one.objects >= 0, one.objects + objects[i], -1) for i, one in enumerate(matches)]
        table = cls(
            data,
            np.repeat(np.arange(len(images)), np.diff(objects)),
            _joined([image.object_labels for image in images], np.zeros(0, np.int64)),
            _joined([image.object_boxes for image in images], np.zeros((0, 4))),
            np.repeat(np.arange(len(images)), np.diff(detections)),
            _joined([image.labels for image in images], np.zeros(0, np.int64)),
            _joined([image.scores for image in images], np.zeros(0)),
            _joined([image.boxes for image in images], np.zeros((0, 4))),
            _joined(
                [image.boxes if image.mask_boxes is None else image.mask_boxes for image in images], np.zeros((0, 4))
            ),
            _joined([image.overlaps.object_areas for image in images], np.zeros(0)),
            _joined([image.overlaps.detection_areas for image in images], np.zeros(0)),
            _joined(pairs, np.zeros((0, 2), np.int64)),
            _joined([image.overlaps.ious for image in images], np.zeros(0)),
            _joined([image.overlaps.intersections for image in images], np.zeros(0)),
            np.concatenate([nothing.astype(np.int64), *matched], axis=1),
            np.concatenate([nothing.astype(bool), *[one.true_positives for one in matches]], axis=1),
            np.concatenate([nothing.astype(bool), *[one.false_positives for one in matches]], axis=1),
        )
        return table, matches

    @cached_property
    def counts(self) -> np.ndarray:
        """Objects of each of K classes: int64 [K]."""
        return np.bincount(self.object_labels, minlength=len(self.data.classes))

    @cached_property
    def found(self) -> np.ndarray:
        """Whether each object is matched at the first threshold: bool [M]."""
        found = np.zeros(len(self.object_labels), bool)
        found[self.matched[0][self.matched[0] >= 0]] = True
        return found

    @cached_property
    def same(self) -> np.ndarray:
        """Whether the two of each pair are of one class: bool [P]."""
        return self.object_labels[self.pairs[:, 0]] == self.labels[self.pairs[:, 1]]

    @cached_property
    def ap(self) -> float:
        """Mean AP over thresholds and classes with objects; 0 without objects."""
        return self.mended_ap()

    def best_of_detections(self, chosen: np.ndarray) -> np.ndarray:
        """The pair of the largest IoU of each detection: int64 [N], -1 without.

        ``chosen``: the pairs that count, bool [P].
        """
        return best_pairs(self.pairs[:, 1], self.ious, chosen, len(self.labels))

    def best_of_objects(self, chosen: np.ndarray) -> np.ndarray:
        """The same of each object: int64 [M]."""
        return best_pairs(self.pairs[:, 0], self.ious, chosen, len(self.object_labels))

    def ious_at(self, pairs: np.ndarray) -> np.ndarray:
        """The IoU of each pair, 0 for -1."""
        return np.append(self.ious, 0.0)[pairs]

    def mended_ap(
        self,
        *,
        removed: np.ndarray | None = None,
        uncounted: np.ndarray | None = None,
        recovered: np.ndarray | None = None,
        true: np.ndarray | None = None,
        false: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> float:
        """Returns the AP after errors are mended.

        Args:
            removed: bool [N], detections that are removed.
            uncounted: bool or float64 [M], share of each object that is no longer counted. Without any object left, a
                class with objects has AP 1: nothing of it is missed.
            recovered: likewise, share of each object that is found too, with the highest score. At a higher IoU threshold
                it counts as far as the matches of all classes at the first one reach that.
            true: bool [T, N] in place of ``self.true``.
            false: likewise.
            labels: int64 [N], likewise.
        """
        true, false = self.true if true is None else true, self.false if false is None else false
        if removed is not None:
            true, false = true & ~removed, false & ~removed
        if labels is None:
            of_class = self._of_class
        else:
            of_class = [self._order[labels[self._order] == label] for label in range(len(self.counts))]
        gone, added = self._per_class(uncounted), self._per_class(recovered)
        aps = []
        for label, own in enumerate(of_class):
            remaining = self.counts[label] - gone[label]
            for t in range(len(true)) if self.counts[label] else ():
                if remaining < 1e-6:
                    aps.append(1.0)
                    continue
                # Ignored detections are neither true nor false.
                counted = own[true[t, own] | false[t, own]]
                first = added[label] * self._reach[t]
                hits = np.concatenate([[first], true[t, counted]])
                wrong = np.concatenate([[0.0], false[t, counted]])
                aps.append(interpolated_precision(hits, wrong, remaining)[0].mean())
        return float(np.mean(aps)) if aps else 0.0

    def gain(self, mended_ap: float) -> float:
        """By how much an AP exceeds the present one, at least 0."""
        return max(0.0, mended_ap - self.ap)

    def _per_class(self, shares: np.ndarray | None) -> np.ndarray:
        """The sum of shares of objects [M] in each class: float64 [K]."""
        if shares is None:
            return np.zeros(len(self.counts))
        return np.bincount(self.object_labels, shares, minlength=len(self.counts))

    @cached_property
    def _reach(self) -> np.ndarray:
        """Share of the matches at the first threshold that are matches at each one: float64 [T], 1 without matches."""
        matches = self.true.sum(axis=1)
        return np.minimum(matches / matches[0], 1.0) if len(matches) and matches[0] else np.ones(len(self.true))

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(-self.scores, kind="stable")

    @cached_property
    def _of_class(self) -> list[np.ndarray]:
        """The detections of each class, best first."""
        return [self._order[self.labels[self._order] == label] for label in range(len(self.counts))]

    def examples(
        self, *, objects: np.ndarray | None = None, detections: np.ndarray | None = None, cost: np.ndarray | None = None
    ) -> tuple[Example, ...]:
        """Examples of objects, of detections, or of both, the most costly first.

        Args:
            objects: int64 [E]; -1: none.
            detections: int64 [E]; -1: none.
            cost: float64 [E]; None: the given order.
        """
        given = objects if objects is not None else detections
        count = 0 if given is None else len(given)
        none = np.full(count, -1)
        objects, detections = none if objects is None else objects, none if detections is None else detections
        order = np.arange(count) if cost is None else np.argsort(-cost, kind="stable")
        found = []
        for o, d in zip(objects[order[:MOST_EXAMPLES]], detections[order[:MOST_EXAMPLES]], strict=True):
            index = int(self.object_images[o] if o >= 0 else self.images[d])
            image = self.data.images[index]
            first_object = np.searchsorted(self.object_images, index)
            first = np.searchsorted(self.images, index)
            found.append(
                Example(
                    image.image_id,
                    int(image.object_ids[o - first_object]) if o >= 0 else None,
                    int(d - first) if d >= 0 else None,
                )
            )
        return tuple(found)


def best_pairs(ends: np.ndarray, values: np.ndarray, chosen: np.ndarray, count: int) -> np.ndarray:
    """The chosen pair of the largest value at each end: int64 [count], -1 without.

    Args:
        ends: int64 [P], object or detection of each pair.
        values: float64 [P].
        chosen: bool [P].
        count: number of objects or detections.
    """
    best = np.full(count, -1, np.int64)
    indices = np.flatnonzero(chosen)
    order = indices[np.lexsort((-values[indices], ends[indices]))]
    first = np.diff(ends[order], prepend=-1) != 0
    best[ends[order[first]]] = order[first]
    return best


def mask_of(count: int, rows: np.ndarray) -> np.ndarray:
    """bool [count], True at the rows."""
    mask = np.zeros(count, bool)
    mask[rows] = True
    return mask


def _joined(parts: Sequence[np.ndarray], empty: np.ndarray) -> np.ndarray:
    return np.concatenate([empty, *parts])
