"""TIDE's six kinds of errors and their costs (Bolya et al. 2020, TIDE, sections 2.1 to 2.3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from segkit.diagnosis.findings import Finding
from segkit.diagnosis.ranking import Ranking
from segkit.evaluation.image_overlaps import DatasetOverlaps

FOREGROUND_IOU = 0.5
BACKGROUND_IOU = 0.1

TITLES = {
    "classification": "right place, wrong class",
    "localisation": "right class, poor place",
    "both": "wrong class and poor place",
    "duplicate": "a second detection of an object",
    "background": "a detection without an object",
    "missed": "an object that no detection is near to",
}


def tide_errors(data: DatasetOverlaps) -> tuple[Finding, ...]:
    """Returns the six kinds of errors at IoU 0.5, the most costly first.

    A false positive is of the first kind that holds, with IoU_c the largest IoU with an object of its class and IoU_o
    that with an object of another one (t_f = 0.5, t_b = 0.1):

    - localisation: t_b <= IoU_c <= t_f;
    - classification: IoU_o >= t_f;
    - duplicate: IoU_c >= t_f, with an object that a detection of a higher score is matched with;
    - background: both are at most t_b;
    - both: all others.

    Missed are the objects without a match that no error of classification or localisation is about.

    The cost of a kind is the AP at IoU 0.5 after its oracle mended all its errors, minus the AP. The oracle of
    classification and localisation makes the error of the highest score about an object without a match a true positive, and
    removes the others; missed objects are no longer counted; the errors of the other kinds are removed.

    Differences from the authors' package ``tidecv``: classes without objects do not count in the mean, as in COCO's AP;
    there they count as 0. Detections in ignore regions are no errors. Detections are limited as in ``data``, there to 100 an
    image. Costs are in 0..1, there in percent.
    """
    return tide_of_ranking(Ranking.of(data, np.array([FOREGROUND_IOU]))[0])


def tide_of_ranking(table: Ranking) -> tuple[Finding, ...]:
    """The same from a table whose first threshold is 0.5."""
    table = replace(table, matched=table.matched[:1], true=table.true[:1], false=table.false[:1])
    of_object, found = table.pairs[:, 0], table.found
    right = table.best_of_detections(table.same)
    other = table.best_of_detections(~table.same)
    right_iou, other_iou = table.ious_at(right), table.ious_at(other)
    used_iou = table.ious_at(table.best_of_detections(table.same & found[of_object]))

    false = table.false[0]
    kinds: dict[str, np.ndarray] = {}
    remaining = false
    for kind, holds in (
        ("localisation", (right_iou >= BACKGROUND_IOU) & (right_iou <= FOREGROUND_IOU)),
        ("classification", other_iou >= FOREGROUND_IOU),
        ("duplicate", used_iou >= FOREGROUND_IOU),
        ("background", np.maximum(right_iou, other_iou) <= BACKGROUND_IOU),
        ("both", np.ones(len(false), bool)),
    ):
        kinds[kind] = remaining & holds
        remaining = remaining & ~holds

    # The object that an error of localisation or classification is about.
    about = np.full(len(false), -1)
    for kind, pairs in (("localisation", right), ("classification", other)):
        about[kinds[kind]] = of_object[pairs[kinds[kind]]]
    free = np.flatnonzero(about >= 0)
    free = free[~found[about[free]]]
    order = free[np.lexsort((-table.scores[free], about[free]))]
    mended = np.zeros(len(false), bool)
    mended[order[np.diff(about[order], prepend=-1) != 0]] = True
    missed = ~found
    missed[about[free]] = False

    findings = []
    for kind, errors in kinds.items():
        if kind in ("localisation", "classification"):
            hits = errors & mended
            labels = table.labels
            if kind == "classification":
                labels = labels.copy()
                labels[hits] = table.object_labels[about[hits]]
            cost = table.gain(table.mended_ap(true=table.true | hits, false=table.false & ~errors, labels=labels))
        else:
            cost = table.gain(table.mended_ap(removed=errors))
        rows = np.flatnonzero(errors)
        nearest = np.where(right_iou >= other_iou, right, other)
        objects = np.append(of_object, -1)[np.where(about[rows] >= 0, -1, nearest[rows])]
        objects = np.where(about[rows] >= 0, about[rows], objects)
        if kind == "background":
            objects = np.full(len(rows), -1)
        examples = table.examples(objects=objects, detections=rows, cost=table.scores[rows])
        findings.append(Finding(kind, TITLES[kind], cost, 0.0, len(rows), examples=examples))
    rows = np.flatnonzero(missed)
    examples = table.examples(objects=rows, cost=table.object_areas[rows])
    cost = table.gain(table.mended_ap(uncounted=missed))
    findings.append(Finding("missed", TITLES["missed"], cost, 0.0, len(rows), examples=examples))
    return ranked(findings)


def ranked(findings: list[Finding]) -> tuple[Finding, ...]:
    """Sorts findings by cost and sets the share of each."""
    total = sum(one.lost_ap for one in findings)
    shared = [replace(one, share=one.lost_ap / total if total else 0.0) for one in findings]
    return tuple(sorted(shared, key=lambda one: -one.lost_ap))
