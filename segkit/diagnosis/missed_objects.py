"""Objects that no detection is near to, and the settings that explain it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from segkit.diagnosis import prescriptions
from segkit.diagnosis.blamed_settings import BLAMED, Blame, at_limit, divided, limit_of
from segkit.diagnosis.findings import Finding
from segkit.diagnosis.misses import cause_shares
from segkit.diagnosis.unexplained import Unexplained, count_of, percent

SCORE_BIN = 0.1  # the scores above the model's threshold from which those below it are estimated
USUAL_THRESHOLD = 0.05  # of scores, in Detectron2 and torchvision
SMALL_SIDE = 16.0  # pixels that the model sees: four cells of a feature map of stride 4


def missed_objects(errors: Unexplained, near: np.ndarray) -> Iterator[Finding]:
    """Objects without a detection, divided among the settings that explain them, and the rest.

    The settings act on: all objects of images whose detections reach the limit; objects smaller than the smallest anchor;
    objects larger than the largest anchor; objects at the border of a tile. Each explains as many misses as exceed those of
    other objects (:func:`segkit.diagnosis.misses.cause_shares`). Before that, a model's score threshold explains as many
    misses as true positives are to be expected below it, if they are as frequent there as just above it.

    An object near a false positive of its class (IoU 0.1 to 0.5) may be explained by a setting too; else it is left for
    the kinds of poor masks. The oracle finds the objects, each by the share that is explained.

    Args:
        errors: those that are left.
        near: bool [M], objects near a false positive of their class.
    """
    table, settings = errors.table, errors.settings
    missed = errors.objects.copy()
    considered = table.found | missed  # objects of other kinds of errors say nothing about misses
    seen = errors.seen_sides
    by_threshold, text = _below_model_threshold(errors, int(missed.sum()))
    causes = {
        "small_for_anchors": seen < (settings.smallest_anchor or 0.0),
        "large_for_anchors": seen > (settings.largest_anchor or np.inf),
        "tile_seam": _at_seam(errors),
        "detection_limit": at_limit(table, limit_of(errors))[table.object_images],
    }
    *others, full = (acting[considered] for acting in causes.values())
    shares = np.zeros((len(causes) + 1, len(missed)))
    shares[:, considered] = cause_shares(np.stack(others), full, missed[considered]) * (1 - by_threshold)
    for kind, share in zip(causes, shares, strict=False):
        if share.sum() >= 1:
            yield BLAMED[kind](Blame(errors, kind, share, causes[kind], considered & ~causes["detection_limit"]))
    if by_threshold * missed.sum() >= 1:
        yield _threshold_finding(errors, missed * by_threshold, text)
    unknown = np.where(near, 0.0, shares[-1])
    if unknown.sum() >= 1:
        yield _unknown(errors, unknown, seen)
    errors.take(np.flatnonzero(missed & (~near | (shares[-1] < 0.5))))


def _at_seam(errors: Unexplained) -> np.ndarray:
    """Whether each object touches the border of a tile: bool [M]."""
    table = errors.table
    if errors.settings.tile_size is None:
        return np.zeros(len(table.object_labels), bool)
    sizes = np.array([image.size for image in table.data.images], np.float64).reshape(-1, 2)[table.object_images]
    x, y, width, height = table.object_boxes.T
    return (x < 1) | (y < 1) | (x + width > sizes[:, 1] - 1) | (y + height > sizes[:, 0] - 1)


def _below_model_threshold(errors: Unexplained, missed: int) -> tuple[float, str]:
    """The share of misses that the model's score threshold explains, and the evidence."""
    table, threshold = errors.table, errors.settings.model_score_threshold
    if not threshold or not missed:
        return 0.0, ""
    scores = table.scores[table.true[0]]
    width = min(SCORE_BIN, (1 - threshold) / 2)
    near = int((scores < threshold + width).sum())
    expected = near * threshold / width if width else 0.0
    text = (
        f"{count_of(near, 'true positive')} of {len(scores):,} score within {width:.2g} above the model's threshold of "
        f"{threshold:g}; at this rate {expected:,.0f} are below it, of {count_of(missed, 'missed object')}."
    )
    return min(1.0, expected / missed), text


def _threshold_finding(errors: Unexplained, share: np.ndarray, text: str) -> Finding:
    key, threshold = errors.settings.keys.get("model_score_threshold"), errors.settings.model_score_threshold or 0.0
    kind, title = "below_model_threshold", "objects whose detections score below the model's threshold"
    if threshold <= USUAL_THRESHOLD:
        return divided(errors, kind, title, share, text, "", ())
    advice = "Let the model return detections of low scores; predict.score_threshold selects those that are used."
    change = (prescriptions.override(key, USUAL_THRESHOLD),) if key is not None else ()
    return divided(errors, kind, title, share, text, advice, change)


def _unknown(errors: Unexplained, share: np.ndarray, seen: np.ndarray) -> Finding:
    table = errors.table
    rows = np.flatnonzero(share)
    side, found_side = (float(np.median(seen[chosen])) if len(seen[chosen]) else 0.0 for chosen in (rows, table.found))
    text = f"{percent(share.sum(), errors.lost)} of the missed objects have no known cause."
    advice = "Train longer or on more such images; look at the examples for what they have in common."
    overrides: tuple[str, ...] = ()
    if side < SMALL_SIDE and side < found_side:
        text += (
            f" Half of the missed ones are under {side:.0f} px as the model sees them; found ones: {found_side:.0f} px."
        )
        advice = "Enlarge the images, in training and at test."
        overrides = prescriptions.enlarged(errors.settings, 1.5)
    return divided(errors, "missed", "objects without a detection", share, text, advice, overrides)
