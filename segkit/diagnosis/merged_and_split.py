"""Detections of several objects, and objects in which several detections lie."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from segkit.diagnosis import prescriptions
from segkit.diagnosis.findings import Finding
from segkit.diagnosis.nms_errors import lower_nms_threshold
from segkit.diagnosis.ranking import Ranking, mask_of
from segkit.diagnosis.unexplained import Unexplained, count_of, percent

COARSE_SIDE = 48.0  # pixels that the model sees: objects of fewer are separated better in larger images
COVERED = 0.4  # least share of an object that its parts cover if it is several cells under one label
FEWEST_ALIKE = 5  # found objects of an image that show what is usual there


def merged(errors: Unexplained) -> Finding | None:
    """Objects without a match that one detection covers together with another one.

    The detection covers more than half of each of two or more objects of its class.

    Detections count from the score threshold on. The definition is that of :class:`segkit.evaluation.cell_counts.CellCounts`.
    The oracle removes the detection and finds the objects.
    """
    table = errors.table
    of_object, of_detection = table.pairs.T
    used = (table.scores >= errors.score_threshold) & (table.true[0] | table.false[0])
    covers = table.same & used[of_detection] & (table.shared > table.object_areas[of_object] / 2)
    merging = np.bincount(of_detection[covers], minlength=len(table.labels)) >= 2
    covers &= merging[of_detection]
    best = table.best_of_objects(covers)
    rows = np.flatnonzero((best >= 0) & errors.objects)
    if not len(rows):
        return None
    detections = of_detection[best[rows]]
    removed = mask_of(len(table.labels), detections) & errors.detections
    gain = table.gain(table.mended_ap(removed=removed, recovered=mask_of(len(table.object_labels), rows)))
    errors.take(rows, np.flatnonzero(removed))
    side = float(np.median(errors.seen_sides[rows]))
    advice = "Train longer, on more images in which objects touch."
    overrides: tuple[str, ...] = ()
    if side < COARSE_SIDE:
        advice = "Enlarge the images, in training and at test, so that the gaps between objects are seen."
        overrides = prescriptions.enlarged(errors.settings, 1.5)
    return Finding(
        "merged",
        "neighbouring objects detected as one",
        gain,
        0.0,
        len(rows),
        f"{count_of(len(rows), 'missed object')} ({percent(len(rows), errors.lost)}) lie with a neighbour in one of "
        f"{count_of(len(np.unique(detections)), 'detection')}; half of them are under {side:.0f} px as the model sees them.",
        advice,
        overrides,
        table.examples(objects=rows, detections=detections, cost=table.scores[detections]),
    )


def split(errors: Unexplained) -> Iterator[Finding]:
    """Objects without a match in which two or more false positives of their class mostly lie.

    Detections count from the score threshold on. ``merged_labels`` are those whose parts cover at least 0.4 of the object
    and look more like the found objects of their class and image than the object itself does: objects of one image are alike.
    Unlikeness is ``log(area / a)^2 + (log(aspect) - log(s))^2``, of boxes with their longer by their shorter side as aspect;
    a and s are medians of the found objects of the image, or of all images if fewer than five are found in it; the areas
    and aspects of the parts are geometric means. The oracle of both removes the parts and finds the objects.
    """
    table = errors.table
    of_object, of_detection = table.pairs.T
    used = errors.detections & (table.scores >= errors.score_threshold)
    inside = table.same & used[of_detection] & errors.objects[of_object]
    inside &= table.shared > table.areas[of_detection] / 2
    count = len(table.object_labels)
    parts = np.bincount(of_object[inside], minlength=count)
    is_split = parts >= 2
    if not is_split.any():
        return
    covered = np.bincount(of_object[inside], table.shared[inside], minlength=count)
    objects, detections = _shapes(table.object_areas, table.object_boxes), _shapes(table.areas, table.mask_boxes)
    sums = [np.bincount(of_object[inside], values[of_detection[inside]], count) for values in detections.T]
    of_parts = np.stack(sums, axis=1) / np.maximum(parts, 1)[:, None]
    usual = _usual_shapes(table, objects, np.flatnonzero(is_split))
    cells = ((of_parts - usual) ** 2).sum(axis=1) < ((objects - usual) ** 2).sum(axis=1)
    cells &= is_split & (covered >= COVERED * table.object_areas)
    for kind, rows in (("merged_labels", np.flatnonzero(cells)), ("split", np.flatnonzero(is_split & ~cells))):
        if len(rows):
            of_rows = inside & mask_of(count, rows)[of_object]
            yield _split_finding(errors, kind, rows, np.unique(of_detection[of_rows]), float(parts[rows].mean()))


def _shapes(areas: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Logarithms of area, and of the longer side by the shorter one: float64 [N, 2]."""
    sides = np.log(np.maximum(boxes[:, 2:], 1.0))
    return np.stack([np.log(np.maximum(areas, 1.0)), np.abs(sides[:, 0] - sides[:, 1])], axis=1)


def _usual_shapes(table: Ranking, shapes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The median shape of the found objects of the class and image of each object of ``rows``: float64 [M, 2], else NaN."""
    usual = np.full(shapes.shape, np.nan)
    for label in np.unique(table.object_labels[rows]):
        found = np.flatnonzero(table.found & (table.object_labels == label))
        own = rows[table.object_labels[rows] == label]
        for index in np.unique(table.object_images[own]):
            alike = found[table.object_images[found] == index]
            alike = alike if len(alike) >= FEWEST_ALIKE else found
            if len(alike):
                usual[own[table.object_images[own] == index]] = np.median(shapes[alike], axis=0)
    return usual


def _split_finding(errors: Unexplained, kind: str, rows: np.ndarray, detections: np.ndarray, parts: float) -> Finding:
    table, settings = errors.table, errors.settings
    text = (
        f"In {count_of(len(rows), 'missed object')} ({percent(len(rows), errors.lost)}) lie {parts:.1f} detections each, of "
        f"{len(detections):,}"
    )
    if kind == "split":
        title = "objects detected in parts"
        text, advice, overrides = _split_advice(errors, rows, detections, text)
    else:
        title = "annotations that look like several objects under one label"
        text += ", which are more like the objects found in their images than these annotations, and fill them."
        advice = "Separate the objects that share a label; segkit dataset label-errors lists them."
        overrides = prescriptions.separate_components(settings)
    removed, recovered = mask_of(len(table.labels), detections), mask_of(len(table.object_labels), rows)
    gain = table.gain(table.mended_ap(removed=removed, recovered=recovered))
    examples = table.examples(objects=rows, cost=table.object_areas[rows])
    errors.take(rows, detections)
    return Finding(kind, title, gain, 0.0, len(rows), text, advice, overrides, examples)


def _split_advice(
    errors: Unexplained, rows: np.ndarray, detections: np.ndarray, text: str
) -> tuple[str, str, tuple[str, ...]]:
    """Evidence, advice and changes about objects that are detected in parts."""
    side, largest = float(np.median(errors.seen_sides[rows])), errors.settings.largest_anchor
    if largest is not None and side > largest:
        text += (
            f"; half of these objects are over {side:.0f} px as the model sees them, the largest anchor is {largest:g}."
        )
        low, high = np.quantile(errors.seen_sides, [0.1, 0.999])
        overrides = prescriptions.anchors_for(
            errors.settings, min(float(low), errors.settings.smallest_anchor or low), high
        )
        return text, "Use anchors as large as the objects.", overrides
    effect, overrides = lower_nms_threshold(errors, detections)
    if overrides:
        return f"{text}. {effect}", "Remove parts that overlap by a lower NMS threshold.", overrides
    advice = "The parts hardly overlap, so that NMS keeps them: train longer, on more images with such objects."
    return f"{text}.", advice, ()
