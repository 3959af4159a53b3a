"""Detections of the wrong class, of several objects, of parts of objects, of none, and second ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from segkit.diagnosis import prescriptions
from segkit.diagnosis.findings import Finding
from segkit.diagnosis.unexplained import Unexplained, count_of, percent
from segkit.evaluation.cell_counts import BACKGROUND_IOU
from segkit.evaluation.precision import COCO_IOUS

FOREGROUND_IOU = 0.5
MOSTLY = 0.5  # share of a class that is taken for another one, from which their names may be exchanged
COARSE_SIDE = 48.0  # pixels that the model sees: objects of fewer are separated better in larger images
COVERED = 0.4  # least share of an object that its parts cover if it is several cells under one label
LARGE = 1.5  # least area of such an object, by the median area of found ones
WHOLE = 0.5  # least mean area of its parts, likewise


def swapped(errors: Unexplained) -> Finding | None:
    """Objects without a match at which a false positive of another class lies with IoU 0.5 or more.

    The oracle sets the right class.
    """
    table = errors.table
    chosen = ~table.same & errors.objects[table.pairs[:, 0]] & errors.detections[table.pairs[:, 1]]
    best = table.best_of_objects(chosen & (table.ious >= FOREGROUND_IOU))
    rows = np.flatnonzero(best >= 0)
    if not len(rows):
        return None
    pairs = best[rows]
    # A detection mends one object.
    _, first = np.unique(table.pairs[pairs, 1], return_index=True)
    pairs = pairs[first]
    objects, detections = table.pairs[pairs].T
    labels, hits = table.labels.copy(), np.zeros_like(table.true)
    labels[detections] = table.object_labels[objects]
    hits[:, detections] = table.ious[pairs] >= COCO_IOUS[: len(hits), None]
    missing = np.zeros_like(table.false)
    missing[:, detections] = True
    gain = table.gain(true=table.true | hits, false=(table.false | missing) & ~hits, labels=labels)
    title, text, advice, overrides = _class_pair(errors, objects, detections)
    errors.take(objects, detections)
    examples = table.examples(objects=objects, detections=detections, cost=table.scores[detections])
    return Finding("swapped", title, gain, 0.0, len(objects), text, advice, overrides, examples)


def _class_pair(
    errors: Unexplained, objects: np.ndarray, detections: np.ndarray
) -> tuple[str, str, str, tuple[str, ...]]:
    """Title, evidence, advice and changes for the two classes that are confused most often."""
    table = errors.table
    names, counts = table.data.classes, table.counts
    confused = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confused, (table.object_labels[objects], table.labels[detections]), 1)
    a, b = (int(i) for i in np.unravel_index(np.argmax(confused), confused.shape))
    title = f"objects of class {names[a]} detected as {names[b]}"
    text = (
        f"Detected as {names[b]}: {count_of(int(confused[a, b]), 'object')} of class {names[a]} "
        f"({percent(confused[a, b], counts[a])}); as {names[a]}: {confused[b, a]:,} of {names[b]} "
        f"({percent(confused[b, a], counts[b])})."
    )
    shares = confused[[a, b], [b, a]] / np.maximum(counts[[a, b]], 1)
    if (shares >= MOSTLY).all():
        overrides = prescriptions.swapped_class_names(errors.settings, names[a], names[b])
        return title, text, "The two names seem to be exchanged: correct their order.", overrides
    if shares[0] >= MOSTLY:
        return (
            title,
            text,
            f"Check the labels of {names[a]} in the training data (segkit dataset show).",
            (prescriptions.repeated_rare_classes(errors.settings)),
        )
    advice = (
        "Show images with rare classes more often, and check the labels of the examples (segkit dataset label-errors)."
    )
    return title, text, advice, prescriptions.repeated_rare_classes(errors.settings)


def merged(errors: Unexplained) -> Finding | None:
    """Objects without a match, mostly covered by a detection that so covers two or more objects of its class.

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
    removed = np.zeros(len(table.labels), bool)
    removed[detections] = True
    removed &= errors.detections
    gain = table.gain(removed=removed, recovered=_indicator(table.object_labels, rows))
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

    Detections count from the score threshold on. ``merged_labels`` are those that look like several cells under one label:
    the parts cover at least 0.4 of the object, the object is at least 1.5 times as large as half of the found objects of its
    class, and the mean part at least half as large as these. If this holds for half of all such objects, smaller ones are
    merged labels too. The oracle of both removes the parts and finds the objects.
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
    part_area = np.bincount(of_object[inside], table.areas[of_detection[inside]], minlength=count) / np.maximum(
        parts, 1
    )
    typical = np.full(len(table.data.classes), np.inf)
    for label in np.unique(table.object_labels[table.found]):
        typical[label] = np.median(table.object_areas[table.found & (table.object_labels == label)])
    cell = typical[table.object_labels]
    large, whole = table.object_areas / cell, part_area / cell
    cells = is_split & (large >= LARGE) & (whole >= WHOLE)
    if np.median(large[is_split]) >= LARGE and np.median(whole[is_split]) >= WHOLE:
        cells = is_split & (whole >= WHOLE / 2)
    cells &= covered >= COVERED * table.object_areas
    for kind, rows in (("merged_labels", np.flatnonzero(cells)), ("split", np.flatnonzero(is_split & ~cells))):
        if len(rows):
            chosen = np.zeros(count, bool)
            chosen[rows] = True
            detections = np.unique(of_detection[inside & chosen[of_object]])
            yield _split_finding(errors, kind, rows, detections, float(parts[rows].mean()))
            errors.take(rows, detections)


def _split_finding(errors: Unexplained, kind: str, rows: np.ndarray, detections: np.ndarray, parts: float) -> Finding:
    table, settings = errors.table, errors.settings
    text = (
        f"In {count_of(len(rows), 'missed object')} ({percent(len(rows), errors.lost)}) lie {parts:.1f} detections each, of "
        f"{len(detections):,}"
    )
    if kind == "split":
        title, text = "objects detected in parts", text + "."
        advice = (
            "Remove parts beside each other by a lower NMS threshold, or show the model larger windows of the images."
        )
        overrides = prescriptions.lower_nms_threshold(settings)
    else:
        title = "annotations that look like several objects under one label"
        text += ", which are as large as found objects and fill these annotations."
        advice = "Separate the objects that share a label; segkit dataset label-errors lists them."
        overrides = prescriptions.separate_components(settings)
    gain = table.gain(
        removed=_indicator(table.labels, detections).astype(bool), recovered=_indicator(table.object_labels, rows)
    )
    examples = table.examples(objects=rows, cost=table.object_areas[rows])
    return Finding(kind, title, gain, 0.0, len(rows), text, advice, overrides, examples)


def duplicates(errors: Unexplained) -> Finding | None:
    """False positives of IoU 0.5 or more with a found object of their class; the oracle removes them."""
    table = errors.table
    best = table.best_of_detections(table.same & table.found[table.pairs[:, 0]])
    rows = np.flatnonzero(errors.detections & (table.ious_at(best) >= FOREGROUND_IOU))
    if not len(rows):
        return None
    used = int((table.scores[rows] >= errors.score_threshold).sum())
    errors.take(detections=rows)
    return Finding(
        "duplicate",
        "second detections of an object",
        table.gain(removed=_indicator(table.labels, rows).astype(bool)),
        0.0,
        len(rows),
        f"{count_of(len(rows), 'detection')} ({percent(len(rows), len(table.labels))}) find an object again, {used:,} of them "
        f"with a score of {errors.score_threshold:g} or more.",
        "Lower the NMS threshold.",
        prescriptions.lower_nms_threshold(errors.settings),
        table.examples(objects=table.pairs[best[rows], 0], detections=rows, cost=table.scores[rows]),
    )


def spurious(errors: Unexplained) -> Iterator[Finding]:
    """False positives without an object at IoU 0.1; the oracle removes them.

    Those that score as high as half of the true positives are perhaps objects without an annotation (``unannotated``).
    """
    table = errors.table
    best = table.best_of_detections(np.ones(len(table.pairs), bool))
    rows = np.flatnonzero(errors.detections & (table.ious_at(best) < BACKGROUND_IOU))
    scores = table.scores[table.true[0]]
    confident = max(float(np.median(scores)), errors.score_threshold) if len(scores) else np.inf
    above = table.scores[rows] >= confident
    for kind, chosen in (("unannotated", rows[above]), ("spurious", rows[~above])):
        if not len(chosen):
            continue
        text = f"{count_of(len(chosen), 'detection')} ({percent(len(chosen), len(table.labels))}) are at no object"
        if kind == "unannotated":
            title = "confident detections where nothing is annotated"
            text += f" and score {confident:.2f} or more, as half of the true positives do."
            advice = "Look at the examples for objects without an annotation (segkit dataset label-errors)."
        else:
            used = int((table.scores[chosen] >= errors.score_threshold).sum())
            title, text = "detections of background", text + f", {used:,} with a score in use."
            advice = "Train longer, or on images with such background and without objects."
        gain = table.gain(removed=_indicator(table.labels, chosen).astype(bool))
        examples = table.examples(detections=chosen, cost=table.scores[chosen])
        yield Finding(kind, title, gain, 0.0, len(chosen), text, advice, (), examples)
        errors.take(detections=chosen)


def _indicator(like: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """1.0 at the rows and 0.0 elsewhere: float64, as long as ``like``."""
    weights = np.zeros(len(like))
    weights[rows] = 1.0
    return weights
