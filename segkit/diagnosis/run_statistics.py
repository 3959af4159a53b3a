"""How a model usually does on a data set: what a single annotation is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segkit.evaluation.greedy_matching import match_detections
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps

FOUND_IOU = 0.3  # from this IoU on a detection and an annotation mean the same object, however it is drawn
TOUCHING = 0.1  # below this IoU, or share, two things do not concern each other
LEAST = 20  # detections or objects from which a share is measured
MOST_BINS = 50  # of scores
OBJECTS_A_BIN, MOST_SIZES = 100, 8  # of the sizes of a class
# Share of the annotations that is assumed to be wrong before anything is known of one: in ten common test sets 3.4 % of the
# labels are (Northcutt, Athalye and Mueller 2021).
WRONG = 0.03
PRIOR = 4.0  # objects or detections; the weight of the whole data in what is measured in one image


@dataclass(frozen=True)
class Reliability:
    """The precision of detections by class and score, which never falls with the score.

    Attributes:
        curves: of each class, the scores and the precision at them; classes with few detections have the curve of all
            classes together.
    """

    curves: Sequence[tuple[np.ndarray, np.ndarray]]

    def __call__(self, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Returns the precision of detections of these labels and scores: float64 [N], 0..1."""
        found = np.zeros(len(scores))
        for label in np.unique(labels):
            own = labels == label
            found[own] = np.interp(scores[own], *self.curves[label])
        return found


class SizeBins:
    """Bins of objects by class and size.

    A class of few objects has the bins of all classes together.

    Args:
        labels: int64 [M].
        areas: float64 [M].
        num_classes: K.
    """

    def __init__(self, labels: np.ndarray, areas: np.ndarray, num_classes: int) -> None:
        self._edges: list[np.ndarray] = []
        self._first: list[int] = []
        count = 0
        for label in [*range(num_classes), None]:
            own = areas if label is None else areas[labels == label]
            if label is not None and len(own) < LEAST:
                self._edges.append(np.zeros(0))
                self._first.append(-1)
                continue
            bins = int(np.clip(len(own) // OBJECTS_A_BIN, 1, MOST_SIZES))
            self._edges.append(np.quantile(own, np.arange(1, bins) / bins) if len(own) else np.zeros(0))
            self._first.append(count)
            count += bins
        self.count = count

    def of(self, labels: np.ndarray, areas: np.ndarray) -> np.ndarray:
        """Returns the bin of each object: int64 [M], 0..count - 1."""
        found = np.zeros(len(labels), np.int64)
        for label in np.unique(labels):
            own, row = labels == label, int(label) if self._first[int(label)] >= 0 else -1
            found[own] = self._first[row] + np.searchsorted(self._edges[row], areas[own], "right")
        return found


@dataclass(frozen=True)
class RunStatistics:
    """What is usual for the detections of one model.

    Attributes:
        reliability: precision of detections at IoU ``FOUND_IOU``.
        bins: classes and sizes of objects.
        counts: int64 [bins], number of objects.
        missed: int64 [bins], number of objects that no detection touches.
        usual_iou: float64 [bins], median IoU of the found objects with their best detection of their class.
        right_areas: for each class, the ascending areas of its detections that have an object.
    """

    reliability: Reliability
    bins: SizeBins
    counts: np.ndarray
    missed: np.ndarray
    usual_iou: np.ndarray
    right_areas: Sequence[np.ndarray]

    def expected_misses(self, image: ImageOverlaps, found: np.ndarray) -> np.ndarray:
        """The share of objects that are not found among the others like each object of an image.

        Of k objects of its class and size c are not found, and of all objects a share a: without itself it is
        m = (c - 1 + 100 a) / (k - 1 + 100). With i of the image's n other objects not found, the result is
        (i + 4 m) / (n + 4), at least m: an image of which a model finds nothing says more about the model than about the
        annotations.

        Args:
            image: the overlaps.
            found: bool [M], whether a detection touches the object.
        Returns:
            float64 [M], meaningful for objects that are not found.
        """
        rows = self.bins.of(image.object_labels, image.object_areas)
        of_all = max(self.missed.sum() - 0.5, 0.0) / max(self.counts.sum(), 1)  # itself not, and half an object more
        like_it = np.maximum(self.missed[rows] - 1, 0)
        share = (like_it + OBJECTS_A_BIN * of_all) / (np.maximum(self.counts[rows] - 1, 0) + OBJECTS_A_BIN)
        others = np.maximum((~found).sum() - 1, 0)
        return np.maximum(share, (others + PRIOR * share) / (max(len(found) - 1, 0) + PRIOR))


def odds_score(share: np.ndarray | float, wrong: float = WRONG) -> np.ndarray | float:
    """The probability that an annotation is wrong: w / (w + (1 - w) s).

    This is Bayes' rule with the prior w.

    Args:
        share: s, of the right annotations that look at least as suspicious; a wrong one is taken to look so always.
        wrong: w, the share of the annotations that is assumed to be wrong.
    """
    return wrong / (wrong + (1 - wrong) * share)


def touched(image: ImageOverlaps) -> np.ndarray:
    """Whether any detection touches each object, or covers half of it: bool [M]."""
    pairs = image.overlaps
    near = (pairs.ious >= TOUCHING) | (pairs.intersections >= 0.5 * pairs.object_areas[pairs.objects])
    found = np.zeros(len(image.object_ids), bool)
    found[pairs.objects[near]] = True
    return found


def run_statistics(data: DatasetOverlaps, found: Sequence[np.ndarray] | None = None) -> RunStatistics:
    """Measures what is usual for the detections of one model.

    Args:
        data: its overlaps.
        found: for each image bool [M], the objects that count as found; None: those that :func:`touched`
            names. Of several models together these are the objects that any of them touches.
    """
    if found is None:
        found = [touched(image) for image in data.images]
    parts: list[tuple[np.ndarray, ...]] = []
    for image, of_image in zip(data.images, found, strict=True):
        [matched], [ignored] = _matches(image)
        counted = ~ignored & (image.ignored_shares < TOUCHING)
        parts.append(
            (
                image.labels[counted],
                image.scores[counted],
                matched[counted] >= 0,
                image.overlaps.detection_areas[counted],
                image.object_labels,
                image.object_areas,
                of_image,
                best_ious(image, same_class=True),
            )
        )
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else [np.zeros(0)] * 8
    labels, scores, hits, detection_areas, object_labels, areas, all_found, ious = columns
    bins = SizeBins(object_labels, areas, len(data.classes))
    rows = bins.of(object_labels.astype(np.int64), areas)
    counts = np.bincount(rows, minlength=bins.count)
    missed = counts - np.bincount(rows, all_found, minlength=bins.count)
    usual = _medians(ious[ious >= FOUND_IOU], rows[ious >= FOUND_IOU], bins.count)
    right = hits.astype(bool)
    right_areas = [np.sort(detection_areas[right & (labels == label)]) for label in range(len(data.classes))]
    reliability = _reliability(labels, scores, hits, len(data.classes))
    return RunStatistics(reliability, bins, counts, missed, usual, right_areas)


def share_of_larger(areas: np.ndarray, of_image: np.ndarray, of_class: np.ndarray) -> np.ndarray:
    """The share of right detections that are at least as large as each one: float64 [N].

    Objects of one image are alike in size. Of the n right detections of the image k are as large, and of all m of the class
    j: the share of the class is a = (j + 1) / (m + 1), and the result (k + 4 a) / (n + 4).

    Args:
        areas: float64 [N], of detections of one class in one image.
        of_image: float64 [n], areas of the right detections of that class in that image, in any order.
        of_class: float64 [m], areas of those in all images, ascending.
    """
    share = (len(of_class) - np.searchsorted(of_class, areas) + 1) / (len(of_class) + 1)
    larger = len(of_image) - np.searchsorted(np.sort(of_image), areas)
    return (larger + PRIOR * share) / (len(of_image) + PRIOR)


def best_ious(image: ImageOverlaps, *, same_class: bool = False) -> np.ndarray:
    """The largest IoU of each object with a detection, of its class or of any: float64 [M]."""
    pairs = image.overlaps
    best = np.zeros(len(image.object_ids))
    chosen = slice(None) if not same_class else image.object_labels[pairs.objects] == image.labels[pairs.detections]
    np.maximum.at(best, pairs.objects[chosen], pairs.ious[chosen])
    return best


def _matches(image: ImageOverlaps) -> tuple[np.ndarray, np.ndarray]:
    matches = match_detections(image, [FOUND_IOU])
    return matches.objects, matches.ignored


def _medians(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """The median of each group 0..count - 1, 1 for an empty one: float64 [count]."""
    order = np.argsort(groups, kind="stable")
    parts = np.split(values[order], np.searchsorted(groups[order], np.arange(1, count)))
    return np.array([np.median(part) if len(part) else 1.0 for part in parts])


def _reliability(labels: np.ndarray, scores: np.ndarray, hits: np.ndarray, num_classes: int) -> Reliability:
    pooled = monotone_precision(scores, hits)
    curves = []
    for label in range(num_classes):
        own = labels == label
        curves.append(monotone_precision(scores[own], hits[own]) if own.sum() >= LEAST else pooled)
    return Reliability(curves)


def monotone_precision(scores: np.ndarray, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fits the precision of detections as a function of the score that never falls.

    Bins of equally many detections, with one hit and one miss added to each, are made monotone by pooling adjacent
    violators (isotonic regression, Barlow et al. 1972), and interpolated between their mean scores.

    Args:
        scores: float64 [N].
        hits: bool [N], true positives.
    Returns:
        scores [B], ascending, and the precision at each; without detections one point, 0.5.
    """
    if not len(scores):
        return np.zeros(1), np.full(1, 0.5)
    order = np.argsort(scores, kind="stable")
    bins = int(np.clip(len(scores) // LEAST, 1, MOST_BINS))
    blocks: list[list[float]] = []  # weight, precision, number of bins
    means = []
    for part in np.array_split(order, bins):
        means.append(float(scores[part].mean()))
        blocks.append([len(part) + 2, (hits[part].sum() + 1) / (len(part) + 2), 1])
        while len(blocks) > 1 and blocks[-2][1] >= blocks[-1][1]:
            weight, value, count = blocks.pop()
            last = blocks[-1]
            last[1] = (last[0] * last[1] + weight * value) / (last[0] + weight)
            last[0] += weight
            last[2] += count
    return np.array(means), np.repeat([value for _, value, _ in blocks], [int(count) for *_, count in blocks])
