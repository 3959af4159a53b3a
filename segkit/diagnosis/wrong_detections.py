"""Detections of the wrong class, of no object, and second ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from segkit.diagnosis import prescriptions
from segkit.diagnosis.findings import Finding
from segkit.diagnosis.nms_errors import lower_nms_threshold
from segkit.diagnosis.ranking import Ranking, mask_of
from segkit.diagnosis.run_statistics import share_of_larger
from segkit.diagnosis.unexplained import Unexplained, count_of, percent
from segkit.evaluation.cell_counts import BACKGROUND_IOU
from segkit.evaluation.precision import COCO_IOUS

FOREGROUND_IOU = 0.5
MOSTLY = 0.5  # share of a class that is taken for another one, from which their names may be exchanged
FEW_AS_LARGE = 0.05  # share of the true positives that are as large, below which a detection is no object like them


def swapped(errors: Unexplained) -> Finding | None:
    """Objects without a match and with a false positive of another class at IoU 0.5 or more.

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
    gain = table.gain(table.mended_ap(true=table.true | hits, false=(table.false | missing) & ~hits, labels=labels))
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
        advice = f"Check the labels of {names[a]} in the training data (segkit dataset show)."
    else:
        advice = "Show images with rare classes more often, and check the labels of the examples (segkit dataset label-errors)."
    return title, text, advice, prescriptions.repeated_rare_classes(errors.settings)


def duplicates(errors: Unexplained) -> Finding | None:
    """False positives of IoU 0.1 or more with an object, which another one shows better.

    The oracle removes them.
    """
    table = errors.table
    best = table.best_of_detections(np.ones(len(table.pairs), bool))
    rows = np.flatnonzero(errors.detections & (table.ious_at(best) >= BACKGROUND_IOU))
    if not len(rows):
        return None
    used = int((table.scores[rows] >= errors.score_threshold).sum())
    good = int((table.ious_at(best)[rows] >= FOREGROUND_IOU).sum())
    effect, overrides = lower_nms_threshold(errors, rows)
    errors.take(detections=rows)
    return Finding(
        "duplicate",
        "second detections of an object",
        table.gain(table.mended_ap(removed=mask_of(len(table.labels), rows))),
        0.0,
        len(rows),
        f"{count_of(len(rows), 'detection')} ({percent(len(rows), len(table.labels))}) overlap an object that another one "
        f"shows, {good:,} of them with IoU {FOREGROUND_IOU:g} or more, {used:,} with a score of {errors.score_threshold:g} or "
        f"more. {effect}".rstrip(),
        "Lower the NMS threshold."
        if overrides
        else "Train longer; a lower NMS threshold would remove as many right ones.",
        overrides,
        table.examples(objects=table.pairs[best[rows], 0], detections=rows, cost=table.scores[rows]),
    )


def spurious(errors: Unexplained) -> Iterator[Finding]:
    """False positives without an object at IoU 0.1; the oracle removes them.

    ``unannotated`` are those that may be objects without an annotation: they score as high as half of the true positives,
    and at least a twentieth of the true positives of their class and image are as large
    (:func:`segkit.diagnosis.run_statistics.share_of_larger`).
    """
    table = errors.table
    best = table.best_of_detections(np.ones(len(table.pairs), bool))
    rows = np.flatnonzero(errors.detections & (table.ious_at(best) < BACKGROUND_IOU))
    scores = table.scores[table.true[0]]
    confident = max(float(np.median(scores)), errors.score_threshold) if len(scores) else np.inf
    like_objects = np.isin(rows, _as_large_as_found(table, rows[table.scores[rows] >= confident]))
    for kind, chosen in (("unannotated", rows[like_objects]), ("spurious", rows[~like_objects])):
        if not len(chosen):
            continue
        text = f"{count_of(len(chosen), 'detection')} ({percent(len(chosen), len(table.labels))}) are at no object"
        if kind == "unannotated":
            title = "confident detections where nothing is annotated"
            text += f", score {confident:.2f} or more, as half of the true positives do, and are no larger than these."
            advice = (
                "Look at the examples: objects without an annotation (segkit dataset label-errors lists them), or errors of "
                "the model that look like objects."
            )
        else:
            used = int((table.scores[chosen] >= errors.score_threshold).sum())
            title, text = "detections of background", text + f", {used:,} with a score in use."
            advice = "Train longer, or on images with such background and without objects."
        gain = table.gain(table.mended_ap(removed=mask_of(len(table.labels), chosen)))
        examples = table.examples(detections=chosen, cost=table.scores[chosen])
        yield Finding(kind, title, gain, 0.0, len(chosen), text, advice, (), examples)
        errors.take(detections=chosen)


def _as_large_as_found(table: Ranking, rows: np.ndarray) -> np.ndarray:
    """The detections of ``rows`` of which the size is usual among the true positives of their class and image."""
    chosen = []
    for label in np.unique(table.labels[rows]):
        true = np.flatnonzero(table.true[0] & (table.labels == label))
        of_class, own = np.sort(table.areas[true]), rows[table.labels[rows] == label]
        for index in np.unique(table.images[own]):
            here = own[table.images[own] == index]
            of_image = table.areas[true[table.images[true] == index]]
            chosen.append(here[share_of_larger(table.areas[here], of_image, of_class) >= FEW_AS_LARGE])
    return np.concatenate([np.zeros(0, np.int64), *chosen])
