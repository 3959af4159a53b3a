"""Detections of the right class that lie poorly: shifted, too coarse, or imprecise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from segkit.diagnosis import prescriptions
from segkit.diagnosis.findings import Finding
from segkit.diagnosis.ranking import Ranking
from segkit.diagnosis.unexplained import Unexplained, count_of, percent
from segkit.evaluation.cell_counts import BACKGROUND_IOU
from segkit.evaluation.precision import COCO_IOUS

GOOD_IOU = 0.75  # a detection of this IoU is no poor one
LEAST_SHIFT = 0.5  # pixels
FEWEST_PAIRS = 10
LEAST_SIGNIFICANCE = 5.0  # standard errors of the median offset


@dataclass(frozen=True)
class Pairs:
    """Objects with their detections: matched, or nearest at IoU 0.1 to 0.5.

    Attributes:
        objects: int64 [Q].
        detections: int64 [Q].
        ious: float64 [Q], of masks, or of boxes if the data have no masks.
        object_boxes: float64 [Q, 4] XYWH.
        boxes: float64 [Q, 4], of the masks, if there are any.
    """

    objects: np.ndarray
    detections: np.ndarray
    ious: np.ndarray
    object_boxes: np.ndarray
    boxes: np.ndarray


def poor_masks(errors: Unexplained, pairs: Pairs) -> Iterator[Finding]:
    """Matches of IoU 0.5 to 0.75, and errors of IoU 0.1 to 0.5 with an object without a match.

    They are ``coarse_masks`` if the IoU of their boxes is at least 0.75, else ``imprecise``. The oracle makes them matches of
    IoU 0.75.

    Args:
        errors: those that are left.
        pairs: with the IoUs that they have without a common shift.
    """
    table = errors.table
    poor = (pairs.ious < GOOD_IOU) & (table.found[pairs.objects] | errors.objects[pairs.objects])
    coarse = np.zeros(len(poor), bool)
    if table.data.iou_type == "segm":
        coarse = poor & (box_ious(pairs.object_boxes, table.boxes[pairs.detections]) >= GOOD_IOU)
    for chosen, build in ((coarse, _coarse), (poor & ~coarse, _imprecise)):
        if chosen.any():
            yield build(errors, pairs, chosen)
            errors.take(pairs.objects[chosen], pairs.detections[chosen])


def pairs_of(errors: Unexplained) -> Pairs:
    """Pairs of the errors that are left, and of all matches."""
    table = errors.table
    chosen = table.same & errors.objects[table.pairs[:, 0]] & errors.detections[table.pairs[:, 1]]
    chosen &= table.ious >= BACKGROUND_IOU
    near = table.best_of_objects(chosen)
    near = near[near >= 0]
    # A detection that is nearest to two objects stays with the nearer one.
    _, first = np.unique(table.pairs[near[np.argsort(-table.ious[near], kind="stable")], 1], return_index=True)
    near = near[np.argsort(-table.ious[near], kind="stable")][first]
    is_match = table.matched[0][table.pairs[:, 1]] == table.pairs[:, 0]
    rows = np.concatenate([np.flatnonzero(is_match), near])
    objects, detections = table.pairs[rows].T
    return Pairs(objects, detections, table.ious[rows], table.object_boxes[objects], table.mask_boxes[detections])


def shifted(errors: Unexplained, pairs: Pairs) -> tuple[Finding | None, Pairs]:
    """Detections whose centres are off in one direction, and the pairs without the shift.

    The median offset is at least half a pixel, and five of its standard errors (1.25 standard deviations / sqrt(Q)). The
    oracle moves all detections back; the IoU of masks grows as that of their boxes.
    """
    table, count = errors.table, len(pairs.ious)
    if count < FEWEST_PAIRS:
        return None, pairs
    offset, significance = _typical_offset(pairs.boxes, pairs.object_boxes)
    offset = np.where(significance >= LEAST_SIGNIFICANCE, offset, 0.0)
    if np.hypot(*offset) < LEAST_SHIFT:
        return None, pairs
    moved = pairs.boxes - np.append(offset, [0.0, 0.0])
    before, after = box_ious(pairs.object_boxes, pairs.boxes), box_ious(pairs.object_boxes, moved)
    improved = np.minimum(pairs.ious * after / np.maximum(before, 1e-9), 1.0)
    rows = np.flatnonzero((improved > pairs.ious) & (pairs.ious < GOOD_IOU))
    gain = _gain(table, pairs, np.maximum(improved, pairs.ious))
    if not len(rows) or not gain:
        return None, pairs
    text = (
        f"The centres of {count_of(count, 'detection')} are off by ({offset[0]:+.1f}, {offset[1]:+.1f}) px (right, down) in "
        f"the median, {np.hypot(*offset):.1f} px in one direction; moved back, {percent(len(rows), count)} of them, of IoU "
        f"under {GOOD_IOU}, fit better."
    )
    heads, advice = _shifted_heads(errors, pairs, offset)
    overrides = prescriptions.half_pixel_corrections(errors.settings, heads)
    if overrides:
        advice = "Turn on RoIAlign's half-pixel correction and train again."
    examples = table.examples(
        objects=pairs.objects[rows], detections=pairs.detections[rows], cost=(improved - pairs.ious)[rows]
    )
    finding = Finding(
        "shifted", "detections shifted in one direction", gain, 0.0, len(rows), text, advice, overrides, examples
    )
    fits = improved >= COCO_IOUS[0]
    errors.take(pairs.objects[fits], pairs.detections[fits])
    return finding, replace(pairs, ious=np.maximum(improved, pairs.ious))


def _shifted_heads(errors: Unexplained, pairs: Pairs, offset: np.ndarray) -> tuple[list[str], str]:
    """The heads that may cause a shift, and what else may."""
    advice = (
        "Compare annotations and images (segkit dataset show): outlines that are off by some pixels, or that count pixels "
        "from 1, are learnt; check that training and validation data were annotated alike."
    )
    box_offset, _ = _typical_offset(errors.table.boxes[pairs.detections], pairs.object_boxes)
    if errors.table.data.iou_type == "segm" and np.hypot(*box_offset) < np.hypot(*offset) / 2:
        return ["model.roi_heads.mask_head"], "The boxes are not shifted, the masks in them are. " + advice
    return [*prescriptions.box_heads(errors.settings), "model.roi_heads.mask_head"], advice


def _typical_offset(boxes: np.ndarray, object_boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median offset [2] (x, y) of the centres of boxes from those of objects, and its size in standard errors [2]."""
    offsets = (boxes[:, :2] + boxes[:, 2:] / 2) - (object_boxes[:, :2] + object_boxes[:, 2:] / 2)
    typical = np.median(offsets, axis=0)
    deviation = 1.4826 * np.median(np.abs(offsets - typical), axis=0)  # as of a normal distribution
    error = 1.25 * np.maximum(deviation, 0.1) / np.sqrt(len(offsets))
    return typical, np.abs(typical) / error


def _coarse(errors: Unexplained, pairs: Pairs, chosen: np.ndarray) -> Finding:
    settings = errors.settings
    side = float(np.median(errors.seen_sides[pairs.objects[chosen]]))
    text = (
        f"{count_of(int(chosen.sum()), 'detection')} ({percent(chosen.sum(), len(chosen))} of those near an object) have a "
        f"box of IoU {GOOD_IOU} or more and a mask of less; half of these objects are over {side:.0f} px as the model sees "
        "them"
    )
    pixels = 2 * settings.mask_resolution if settings.mask_resolution is not None else None
    text += f", masks have {pixels} x {pixels} pixels." if pixels is not None else "."
    advice = "Predict masks of a higher resolution."
    overrides = prescriptions.larger_masks(settings)
    if pixels is not None and side < pixels:
        advice = "Masks have more pixels than the objects already: enlarge the images, so that outlines are seen finer."
        overrides = prescriptions.enlarged(settings, 1.5)
    return _finding(errors, pairs, chosen, "coarse_masks", "good boxes with poor masks", text, advice, overrides)


def _imprecise(errors: Unexplained, pairs: Pairs, chosen: np.ndarray) -> Finding:
    lost = int((chosen & (pairs.ious < 0.5)).sum())
    text = (
        f"{percent(chosen.sum(), len(chosen))} of the {count_of(len(chosen), 'detection')} near an object of their class have "
        f"an IoU under {GOOD_IOU}, {lost:,} of them under 0.5; the median of all is {np.median(pairs.ious):.2f}."
    )
    overrides = prescriptions.overlap_loss(errors.settings)
    advice = (
        "Train the boxes on their overlap (GIoU), which favours tight ones, or train longer."
        if overrides
        else "Train longer, or enlarge the images."
    )
    overrides = overrides or prescriptions.enlarged(errors.settings, 1.5)
    return _finding(
        errors, pairs, chosen, "imprecise", "detections that fit their object poorly", text, advice, overrides
    )


def _finding(
    errors: Unexplained,
    pairs: Pairs,
    chosen: np.ndarray,
    kind: str,
    title: str,
    evidence: str,
    advice: str,
    overrides: tuple[str, ...],
) -> Finding:
    table = errors.table
    gain = _gain(table, pairs, np.where(chosen, GOOD_IOU, 0.0))
    objects, detections, ious = pairs.objects[chosen], pairs.detections[chosen], pairs.ious[chosen]
    examples = table.examples(objects=objects, detections=detections, cost=table.scores[detections] - ious)
    return Finding(kind, title, gain, 0.0, len(objects), evidence, advice, overrides, examples)


def _gain(table: Ranking, pairs: Pairs, ious: np.ndarray) -> float:
    """What is gained if each pair is a match of at least this IoU."""
    thresholds = np.minimum(COCO_IOUS, 1 - 1e-10)[: len(table.true)]
    hits = np.zeros_like(table.true)
    hits[:, pairs.detections] = ious >= thresholds[:, None] - 1e-12
    return table.gain(table.mended_ap(true=table.true | hits, false=table.false & ~hits))


def box_ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of each box with the one in the same row: float64 [Q]; boxes are [Q, 4] XYWH."""
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, :2] + first[:, 2:], second[:, :2] + second[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    union = first[:, 2:].prod(axis=1) + second[:, 2:].prod(axis=1) - shared
    return shared / np.maximum(union, 1e-12)
