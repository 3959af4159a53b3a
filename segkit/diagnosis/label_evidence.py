"""Evidence of one image's detections against its annotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from segkit.diagnosis.run_statistics import (
    FOUND_IOU,
    PRIOR,
    TOUCHING,
    RunStatistics,
    best_ious,
    odds_score,
    share_of_larger,
)
from segkit.evaluation.image_overlaps import ImageOverlaps
from segkit.evaluation.overlaps import box_overlaps

MISSING = "missing_annotation"
NEVER_FOUND = "never_found"
OTHER_CLASS = "other_class"
BADLY_DRAWN = "badly_drawn"
AS_ONE = "annotated_as_one"
AS_SEVERAL = "annotated_as_several"
DUPLICATE = "duplicate"
HIGH_LOSS = "high_loss"

MATCHED = 0.5  # from this IoU on a detection shows the object
WELL_DRAWN = 0.7  # from this IoU on the outline is not questioned
INSIDE = 0.7  # share of a thing in another from which it is a part of that
FEW_AS_LARGE = 0.1  # share of the right detections that are as large, below which a detection is unusually large
COVERED = 0.6  # share of a thing that its parts cover at least


@dataclass(frozen=True)
class Evidence:
    """What speaks against one annotation, or for one that is missing.

    Attributes:
        kind: of the error.
        object: row of ``ImageOverlaps``' objects; -1 without.
        detection: row of its detections; -1 without.
        score: 0..1, about the probability that it is an error.
        facts: the figures of the reason, as its sentence needs them.
    """

    kind: str
    object: int
    detection: int
    score: float
    facts: tuple[float, ...] = ()


class ImageEvidence:
    """Compares the annotations of one image with the detections of one model.

    Detections in ignore regions, crowds, and of classes that are not annotated everywhere in the image, are no evidence.

    Args:
        image: the overlaps.
        usual: what is usual for the model.
    """

    def __init__(self, image: ImageOverlaps, usual: RunStatistics) -> None:
        self.image, self.usual = image, usual
        self.confidence = usual.reliability(image.labels, image.scores)
        self.confidence[image.ignored_shares >= TOUCHING] = 0.0
        pairs = image.overlaps
        self.objects, self.detections, self.ious = pairs.objects, pairs.detections, pairs.ious
        self.same_class = image.object_labels[self.objects] == image.labels[self.detections]
        self.of_object = pairs.intersections / np.maximum(pairs.object_areas[self.objects], 1e-9)
        self.of_detection = pairs.intersections / np.maximum(pairs.detection_areas[self.detections], 1e-9)
        shown = self.same_class & (self.ious >= MATCHED)
        self.own_confidence = self._largest(self.objects[shown], self.confidence[self.detections[shown]])

    def all(self) -> Iterator[Evidence]:
        """All evidence of single detections and groups of them."""
        yield from self.missing()
        yield from self.other_class()
        yield from self.badly_drawn()
        yield from self.annotated_as_one()
        yield from self.annotated_as_several()

    def _largest(self, rows: np.ndarray, values: np.ndarray, count: int | None = None) -> np.ndarray:
        """The largest value of each of ``count`` rows, 0 without any; None: the objects."""
        best = np.zeros(len(self.image.object_ids) if count is None else count)
        np.maximum.at(best, rows, values)
        return best

    def missing(self) -> Iterator[Evidence]:
        """Detections that no annotation touches: confidence times the share that is not annotated.

        A detection around a whole annotation of its class does not count. Of detections that show the same thing the most
        confident one is reported. If less than a tenth of the right detections of its class in the image are as large, the
        score is smaller by that much: a model that takes cells for nuclei is sure of them.

        In an image with annotations the score is multiplied by (m + 4) / (c + 4), where c is the sum of the confidences of
        its detections and m that of those with an annotation: where a model often disagrees, it probably fails.
        """
        image, count = self.image, len(self.image.scores)
        near = self._largest(self.detections, self.ious, count)
        taken = np.minimum(np.bincount(self.detections, self.of_detection, count), 1.0)
        around = self._largest(self.detections[self.same_class], self.of_object[self.same_class], count)
        is_missing = (near < TOUCHING) & (taken < FOUND_IOU) & (around < INSIDE)
        agreement = 1.0
        if len(image.object_ids):
            agreed = float(self.confidence[near >= FOUND_IOU].sum())
            agreement = (agreed + PRIOR) / (float(self.confidence.sum()) + PRIOR)
        score = np.where(is_missing, self.confidence * (1 - taken) * agreement * self._size_factors(near), 0.0)
        candidates = np.flatnonzero(score > 0)
        candidates = candidates[np.lexsort((-image.scores[candidates], -score[candidates]))]
        boxes = image.boxes[candidates]
        pairs = box_overlaps(boxes, boxes)
        smaller = np.minimum(pairs.object_areas[pairs.objects], pairs.detection_areas[pairs.detections])
        close = (pairs.objects < pairs.detections) & (pairs.intersections >= 0.5 * smaller)
        dropped: set[int] = set()
        order = np.lexsort((pairs.detections[close], pairs.objects[close]))
        for first, second in zip(
            pairs.objects[close][order].tolist(), pairs.detections[close][order].tolist(), strict=True
        ):
            if first not in dropped:
                dropped.add(second)
        for row, d in enumerate(candidates.tolist()):
            if row not in dropped:
                yield Evidence(MISSING, -1, d, float(score[d]))

    def _size_factors(self, near: np.ndarray) -> np.ndarray:
        """1 for a detection that is no larger than the right ones of its class and image, else less: float64 [N]."""
        image, areas = self.image, self.image.overlaps.detection_areas
        factors = np.ones(len(areas))
        for label in np.unique(image.labels):
            own = image.labels == label
            shares = share_of_larger(areas[own], areas[own & (near >= FOUND_IOU)], self.usual.right_areas[label])
            factors[own] = np.minimum(shares / FEW_AS_LARGE, 1.0)
        return factors

    def other_class(self) -> Iterator[Evidence]:
        """Detections of another class on an annotation.

        The score is the detection's confidence times that no detection of the annotation's class is right. Detections that
        show an object of their own class as well are no evidence: a nucleus may fill its cell.
        """
        shown = self.ious >= MATCHED
        own = self._largest(
            self.detections[shown & self.same_class], self.ious[shown & self.same_class], len(self.image.scores)
        )
        rows = np.flatnonzero(shown & ~self.same_class & (own[self.detections] == 0))
        scores = self.confidence[self.detections[rows]] * (1 - self.own_confidence[self.objects[rows]])
        for row, score in self._best_of_objects(rows, scores):
            yield Evidence(
                OTHER_CLASS, int(self.objects[row]), int(self.detections[row]), score, (float(self.ious[row]),)
            )

    def badly_drawn(self) -> Iterator[Evidence]:
        """Annotations that a confident detection meets in part only, and none well.

        The score is the confidence times (u - IoU) / (u - 0.3), with u the usual IoU of objects of this class and size: 0
        for a usual outline, 1 for one that barely shows the same object.
        """
        image = self.image
        best, of_detection = best_ious(image), self._largest(self.detections, self.ious, len(image.scores))
        usual = self.usual.usual_iou[self.usual.bins.of(image.object_labels, image.object_areas)][self.objects]
        rows = np.flatnonzero(
            (self.ious >= FOUND_IOU)
            & (best[self.objects] < WELL_DRAWN)
            & self.same_class
            & (self.ious >= of_detection[self.detections])
        )
        severity = (usual - self.ious) / np.maximum(usual - FOUND_IOU, 1e-9)
        scores = self.confidence[self.detections] * np.clip(severity, 0, 1)
        for row, score in self._best_of_objects(rows, scores[rows], by=self.confidence[self.detections[rows]]):
            facts = (float(self.ious[row]), float(usual[row]))
            yield Evidence(BADLY_DRAWN, int(self.objects[row]), int(self.detections[row]), score, facts)

    def _best_of_objects(
        self, rows: np.ndarray, scores: np.ndarray, by: np.ndarray | None = None
    ) -> Iterator[tuple[int, float]]:
        """The best of the pairs ``rows`` of each object, by ``by`` or by score, and its score if that is above 0."""
        order = np.lexsort((-scores, -(scores if by is None else by), self.objects[rows]))
        _, first = np.unique(self.objects[rows][order], return_index=True)
        for k in order[first].tolist():
            if scores[k] > 0:
                yield int(rows[k]), float(scores[k])

    def annotated_as_one(self) -> Iterator[Evidence]:
        """Annotations that two or more separate detections fill.

        The score is the product of the confidences of the best two and the share of the annotation that all cover, less
        where a detection shows the annotation whole.
        """
        rows = np.flatnonzero((self.of_detection >= INSIDE) & (self.of_object >= TOUCHING) & (self.ious < WELL_DRAWN))
        whole = self.ious >= WELL_DRAWN
        disputed = self._largest(self.objects[whole], self.confidence[self.detections[whole]])
        for o, group in _groups(self.objects, rows):
            order = group[np.argsort(-self.confidence[self.detections[group]], kind="stable")]
            parts = self._separate(order)
            covered = float(self.of_object[parts].sum())
            if len(parts) < 2 or covered < COVERED:
                continue
            first, second = self.confidence[self.detections[parts[:2]]].tolist()
            score = first * second * min(covered, 1.0) * (1 - float(disputed[o]))
            if score > 0:
                yield Evidence(AS_ONE, o, int(self.detections[parts[0]]), score, (len(parts), min(covered, 1.0)))

    def _separate(self, rows: np.ndarray) -> np.ndarray:
        """The pairs whose detections lie apart from those before them, by their boxes."""
        boxes = self.image.boxes[self.detections[rows]]
        kept: list[int] = []
        for k in range(len(rows)):
            common = box_overlaps(boxes[kept], boxes[k : k + 1])
            if not len(common.ious) or common.ious.max() < FOUND_IOU:
                kept.append(k)
        return rows[kept]

    def annotated_as_several(self) -> Iterator[Evidence]:
        """Detections that two or more annotations of their class fill.

        The score is the confidence, times the share of the detection that the annotations cover, times that no detection
        shows one of them alone. The largest annotation is the one reported.
        """
        rows = np.flatnonzero(
            (self.of_object >= INSIDE) & (self.of_detection >= TOUCHING) & (self.ious < WELL_DRAWN) & self.same_class
        )
        for d, group in _groups(self.detections, rows):
            covered = float(self.of_detection[group].sum())
            if len(group) < 2 or not COVERED <= covered <= 2 - INSIDE:  # above it the annotations overlap: duplicates
                continue
            alone = 0.0
            for row in group.tolist():  # detections of one of the annotations, other than this one
                others = (self.objects == self.objects[row]) & (self.detections != d) & (self.ious >= MATCHED)
                alone = max(alone, float(self.confidence[self.detections[others]].max(initial=0.0)))
            largest = group[int(np.argmax(self.of_detection[group]))]
            score = float(self.confidence[d]) * min(covered, 1.0) * (1 - alone)
            if score > 0:
                yield Evidence(AS_SEVERAL, int(self.objects[largest]), d, score, (len(group), min(covered, 1.0)))


def never_found(image: ImageOverlaps, usual: RunStatistics, found: np.ndarray) -> Iterator[Evidence]:
    """Annotations that no detection touches, of any class and score.

    Few others of their class, size and image may be like that.

    Args:
        image: the overlaps.
        usual: measured with ``found``.
        found: bool [M], the objects that a detection touches.
    """
    misses = usual.expected_misses(image, found)
    for o in np.flatnonzero(~found).tolist():
        yield Evidence(NEVER_FOUND, o, -1, float(odds_score(misses[o])), (1 - float(misses[o]),))


def duplicates(image: ImageOverlaps) -> Iterator[Evidence]:
    """Annotations that show the object of an earlier one again.

    Masks of annotations are not compared with each other: 1 - IoU is a metric (the Jaccard distance; Kosub 2019), so that a
    detection of IoUs a and b with them bounds their IoU to a + b - 1 .. 1 - abs(a - b). Without detections it is at most the
    ratio of the areas. The score is the middle of the bounds.
    """
    boxes = image.object_boxes
    pairs = box_overlaps(boxes, boxes)
    near = np.flatnonzero((pairs.objects < pairs.detections) & (pairs.ious >= WELL_DRAWN))
    if not len(near):
        return
    table: dict[int, dict[int, float]] = {}
    known = image.overlaps
    for o, d, iou in zip(known.objects.tolist(), known.detections.tolist(), known.ious.tolist(), strict=True):
        table.setdefault(o, {})[d] = iou
    areas = known.object_areas
    best: dict[int, Evidence] = {}
    for first, second, box_iou in zip(
        pairs.objects[near].tolist(), pairs.detections[near].tolist(), pairs.ious[near].tolist(), strict=True
    ):
        low, high = 0.0, min(box_iou, min(areas[first], areas[second]) / max(areas[first], areas[second], 1e-9))
        one, other = table.get(first, {}), table.get(second, {})
        for d in one.keys() | other.keys():
            a, b = one.get(d, 0.0), other.get(d, 0.0)
            low, high = max(low, a + b - 1), min(high, 1 - abs(a - b))
        score = (low + max(low, high)) / 2
        if high >= WELL_DRAWN and (second not in best or score > best[second].score):
            best[second] = Evidence(DUPLICATE, second, -1, float(score), (float(first), low, max(low, high)))
    yield from best.values()


def _groups(keys: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The ``rows`` of each value of ``keys``."""
    order = rows[np.argsort(keys[rows], kind="stable")]
    values, first = np.unique(keys[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, first[1:]), strict=True) if len(values) else ()
