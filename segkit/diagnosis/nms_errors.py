"""Objects that NMS removes, and errors that a lower NMS threshold would remove."""

from __future__ import annotations

import numpy as np

from segkit.diagnosis import prescriptions
from segkit.diagnosis.findings import Finding
from segkit.diagnosis.ranking import Ranking, mask_of
from segkit.diagnosis.unexplained import Unexplained, count_of, percent
from segkit.evaluation.overlaps import box_overlaps

LOWER = 0.8  # of the present threshold
LEAST_REMOVED = 0.25  # share of the errors that it removes; of two parts of an object one stays
LOWEST = 0.3  # present threshold from which a lower one is tried


def nms_losses(errors: Unexplained) -> Finding | None:
    """Objects that overlap a found neighbour by more than the NMS threshold.

    The overlap is the IoU of the objects' boxes, up to 0.95; both are of one class. Beyond that no threshold helps. The
    oracle finds the objects.
    """
    table, threshold = errors.table, errors.settings.nms_threshold
    if threshold is None:
        return None
    lost = np.flatnonzero(errors.objects)
    overlap = np.zeros(len(table.object_labels))
    found = np.flatnonzero(table.found)
    for index in np.unique(table.object_images[lost]):
        rows, others = lost[table.object_images[lost] == index], found[table.object_images[found] == index]
        pairs = box_overlaps(table.object_boxes[rows], table.object_boxes[others])
        same = table.object_labels[rows[pairs.objects]] == table.object_labels[others[pairs.detections]]
        np.maximum.at(overlap, rows[pairs.objects[same]], pairs.ious[same])
    rows = np.flatnonzero((overlap > threshold) & (overlap <= prescriptions.HIGHEST_NMS_THRESHOLD))
    if not len(rows):
        return None
    errors.take(rows)
    high = float(np.quantile(overlap[rows], 0.9))
    return Finding(
        "nms",
        "objects that NMS removed beside a neighbour",
        table.gain(table.mended_ap(recovered=mask_of(len(table.object_labels), rows))),
        0.0,
        len(rows),
        f"{count_of(len(rows), 'missed object')} ({percent(len(rows), errors.lost)}) "
        f"overlap a found neighbour by more than the NMS threshold of {threshold:g}: 9 of 10 by up to IoU {high:.2f}.",
        "Raise the NMS threshold above the overlap of neighbours.",
        prescriptions.higher_nms_threshold(errors.settings, high),
        table.examples(objects=rows, cost=overlap[rows]),
    )


def lower_nms_threshold(errors: Unexplained, detections: np.ndarray) -> tuple[str, tuple[str, ...]]:
    """What an NMS threshold a fifth lower removes, and the change if that raises the AP.

    Args:
        errors: with the settings.
        detections: int64 [E], the errors that it should remove.
    Returns:
        a sentence, and the change; both empty if the threshold is unknown or a lower one removes under a quarter of the
        errors or does not raise the AP.
    """
    table, threshold = errors.table, errors.settings.nms_threshold
    if threshold is None or threshold < LOWEST:
        return "", ()
    lower = round(LOWER * threshold, 2)
    removed = removed_by_nms(table, lower)
    wrong, right = int(removed[detections].sum()), int((removed & table.true[0]).sum())
    gain = table.gain(table.mended_ap(removed=removed))
    if wrong < LEAST_REMOVED * len(detections) or not gain:
        return "", ()
    text = (
        f"NMS at {lower:g} would remove {wrong:,} of them and {count_of(right, 'true positive')} from these results, which "
        f"raises the AP by {gain:.3f}."
    )
    return text, (prescriptions.override(errors.settings.keys["nms_threshold"], lower),)


def removed_by_nms(table: Ranking, threshold: float) -> np.ndarray:
    """The detections that NMS of boxes by class removes from those of the table: bool [N]."""
    removed = np.zeros(len(table.labels), bool)
    starts = np.searchsorted(table.images, np.arange(len(table.data.images) + 1))
    for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        rows = first + np.argsort(-table.scores[first:last], kind="stable")
        pairs = box_overlaps(table.boxes[rows], table.boxes[rows])
        high, low = rows[pairs.objects], rows[pairs.detections]
        close = (
            (pairs.objects < pairs.detections) & (pairs.ious > threshold) & (table.labels[high] == table.labels[low])
        )
        order = np.argsort(pairs.objects[close], kind="stable")
        for one, other in zip(high[close][order].tolist(), low[close][order].tolist(), strict=True):
            removed[other] |= not removed[one]
    return removed
