"""Objects that the score threshold in use loses."""

from __future__ import annotations

import math

import numpy as np

from segkit.diagnosis import prescriptions
from segkit.diagnosis.findings import Finding
from segkit.diagnosis.ranking import Ranking
from segkit.diagnosis.unexplained import Unexplained, count_of, percent


def below_threshold(errors: Unexplained) -> Finding | None:
    """Objects matched with a detection that scores below the threshold in use, and at least the best one.

    The best threshold has the highest F1 at IoU 0.5, over all classes. AP is of all detections, so that no threshold
    changes it; the cost is by how much more AP the detections above the best threshold have than those above the one in use.
    """
    table, threshold = errors.table, errors.score_threshold
    best, f1, in_use = best_threshold(table, threshold)
    rows = np.flatnonzero(table.true[0] & (table.scores < threshold) & (table.scores >= best))
    if best >= threshold or not len(rows):
        return None
    gain = table.mended_ap(removed=table.scores < best) - table.mended_ap(removed=table.scores < threshold)
    found = int(table.true[0].sum())
    key = errors.settings.keys.get("predict_score_threshold")
    return Finding(
        "below_threshold",
        "objects found with a score below the threshold in use",
        max(0.0, gain),
        0.0,
        len(rows),
        f"{count_of(len(rows), 'object')} ({percent(len(rows), found)} of those found) score between {best:.2f} and the "
        f"threshold in use, {threshold:g}; F1 is {in_use:.3f} there and {f1:.3f} at {best:.2f}.",
        "Use the score threshold of the highest F1.",
        (prescriptions.override(key, best),) if key is not None else (),
        table.examples(objects=table.matched[0][rows], detections=rows, cost=table.scores[rows]),
    )


def best_threshold(table: Ranking, threshold: float) -> tuple[float, float, float]:
    """The score threshold of the highest F1, rounded down to 0.01; F1 there, and at a given threshold.

    ``F1 = 2 TP / (objects + TP + FP)`` at IoU 0.5, over all classes.
    """
    order = np.argsort(-table.scores, kind="stable")
    true, false = np.cumsum(table.true[0][order]), np.cumsum(table.false[0][order])
    values = 2 * true / np.maximum(true + false + len(table.object_labels), 1)
    scores = table.scores[order]
    if not len(scores):
        return threshold, 0.0, 0.0
    last = np.append(np.diff(scores) != 0, True)  # a threshold takes all detections of a score
    best = int(np.flatnonzero(last)[np.argmax(values[last])])
    above = int((scores >= threshold).sum())
    rounded = math.floor(100 * scores[best] + 1e-9) / 100
    return rounded, float(values[best]), float(values[above - 1]) if above else 0.0
