"""What a page knows about an image: labels, boxes, scores, colours and overlapping pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segkit.evaluation.greedy_matching import match_detections
from segkit.evaluation.image_overlaps import ImageOverlaps
from segkit.report.gallery.groups import IOU_THRESHOLD
from segkit.structures.targets import ALL_CLASSES
from segkit.visualization.colors import instance_hues

SCORE_STEPS = 1_000_000  # scores are shipped as whole millionths, rounded down
OBJECT, CROWD, IGNORE = range(3)  # kinds of ground truth

Truth = Sequence[Mapping[str, Any]]


def score_steps(scores: np.ndarray) -> np.ndarray:
    """Scores in whole millionths, int64 [N].

    A score reaches a threshold with six decimals if and only if its steps do: ``k / 1e6 <= score < (k + 1) / 1e6``.
    """
    steps = np.floor(scores * SCORE_STEPS).astype(np.int64)
    steps += (steps + 1) / SCORE_STEPS <= scores
    steps -= steps / SCORE_STEPS > scores
    return steps


def truth_record(truth: Truth, image: ImageOverlaps) -> dict[str, Any]:
    """The ground truth of an image: ``l`` labels, ``b`` boxes XYWH, ``k`` kinds, ``c`` hues.

    Args:
        truth: of the image.
        image: overlaps of the first run; what is no object there is a region.
    """
    kinds = np.full(len(truth), CROWD)
    kinds[image.object_ids] = OBJECT
    kinds[[item["label"] == ALL_CLASSES for item in truth]] = IGNORE
    boxes = np.array([item["bbox"] for item in truth], np.float64).reshape(-1, 4)
    return {
        "l": [int(item["label"]) for item in truth],
        "b": _flat(boxes),
        "k": kinds.tolist(),
        "c": instance_hues(_xyxy(boxes)).tolist(),
    }


def run_record(image: ImageOverlaps, hues: Sequence[int], *, class_agnostic: bool, ap: float | None) -> dict[str, Any]:
    """The detections of a run on an image.

    ``l`` labels (-1 without a class), ``q`` scores in :data:`SCORE_STEPS`, ``b`` boxes XYWH, ``c`` hues, ``g`` detections
    that are ignored if they have no match, ``a`` AP at IoU 0.5 of the image. ``p``: the pairs of one class from IoU 0.5 as
    detection, object (position in the ground truth) and thousandths of the IoU, in the order in which COCO's greedy
    matching takes them: walking through it, each pair of a free detection and a free object is a match. ``w``: likewise
    the pairs of two classes.

    Args:
        image: the overlaps.
        hues: of the image's ground truth.
        class_agnostic: whether detections have no class.
        ap: of the image.
    """
    pairs = image.overlaps
    ious = pairs.ious
    near = ious >= IOU_THRESHOLD
    rank = np.empty(len(image.scores), np.int64)
    rank[np.argsort(-image.scores, kind="stable")] = np.arange(len(image.scores))
    order = np.lexsort((-pairs.objects, -ious, rank[pairs.detections]))
    order = order[near[order]]
    same = (image.object_labels[pairs.objects] == image.labels[pairs.detections])[order]
    rows = np.stack([pairs.detections, image.object_ids[pairs.objects], np.floor(ious * 1000).astype(np.int64)], 1)[
        order
    ]
    matched = match_detections(image, [IOU_THRESHOLD]).objects[0]
    known = np.full(len(image.scores), -1)
    found = matched >= 0
    known[found] = np.asarray(hues, np.int64)[image.object_ids[matched[found]]]
    return {
        "l": [-1] * len(image.labels) if class_agnostic else image.labels.tolist(),
        "q": score_steps(image.scores).tolist(),
        "b": _flat(image.boxes),
        "c": instance_hues(_xyxy(image.boxes), known).tolist(),
        "g": np.flatnonzero(image.ignored_shares >= IOU_THRESHOLD).tolist(),
        "p": rows[same].ravel().tolist(),
        "w": rows[~same].ravel().tolist(),
        "a": None if ap is None else round(ap, 4),
    }


def _xyxy(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def _flat(boxes: np.ndarray) -> list[int | float]:
    """The boxes in a row, in tenths of a pixel; whole numbers without a decimal."""
    return [int(x) if x == int(x) else x for x in np.round(boxes, 1).ravel().tolist()]
