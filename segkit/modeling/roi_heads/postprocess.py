"""From scored boxes of all classes to the detections of an image."""

from __future__ import annotations

from torch import Tensor

from segkit.modeling.layers.boxes import class_nms, clip_boxes, usable


def select_detections(
    boxes: Tensor,
    scores: Tensor,
    size: tuple[int, int],
    *,
    score_threshold: float,
    nms_threshold: float,
    limit: int,
    min_size: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Threshold, suppress within each class, keep the best.

    Args:
        boxes: [P, K, 4] a box a class.
        scores: [P, K].
        size: (height, width) to clip at.
        score_threshold: lowest score, exclusive.
        nms_threshold: IoU above which the lower-scored goes.
        limit: how many are kept.
        min_size: shortest side, in pixels; boxes without area always go.
    Returns:
        boxes [N, 4], scores [N], labels [N], best first.
    """
    proposals, labels = (scores > score_threshold).nonzero(as_tuple=True)
    kept_scores = scores[proposals, labels]
    kept_boxes = clip_boxes(boxes[proposals, labels], size)
    valid = usable(kept_boxes, kept_scores, min_size)
    kept_boxes, kept_scores, labels = kept_boxes[valid], kept_scores[valid], labels[valid]
    best = class_nms(kept_boxes, kept_scores, labels, nms_threshold)[:limit]
    return kept_boxes[best], kept_scores[best], labels[best]
