"""Turns scored boxes into detections: score threshold, NMS within classes, masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from segkit.modeling.interfaces import MaskHead
from segkit.modeling.layers.boxes import clip_boxes, valid_for_nms
from segkit.modeling.layers.nms import batched_nms
from segkit.modeling.nonfinite import require_finite
from segkit.structures.detections import Detections


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
    """The best boxes of one image after the score threshold and NMS within each class.

    Args:
        boxes: [P, K, 4], one for each proposal and class.
        scores: [P, K].
        size: (height, width) of the image that boxes are clipped to.
        score_threshold: scores must be above it.
        nms_threshold: of two boxes of a class with a larger IoU, the one with the lower score is removed.
        limit: number of boxes returned at most.
        min_size: shortest side, in pixels; boxes without area are always removed.
    Returns:
        boxes [N, 4], scores [N], labels [N], best first.
    """
    proposals, labels = (scores > score_threshold).nonzero(as_tuple=True)
    kept_scores = scores[proposals, labels]
    kept_boxes = clip_boxes(boxes[proposals, labels], size)
    valid = valid_for_nms(kept_boxes, kept_scores, min_size).nonzero().squeeze(1)  # one synchronisation
    kept_boxes, kept_scores, labels = kept_boxes[valid], kept_scores[valid], labels[valid]
    best = batched_nms(kept_boxes, kept_scores, labels, nms_threshold, limit)
    return kept_boxes[best], kept_scores[best], labels[best]


def masked_detections(
    mask_head: MaskHead | None,
    features: Mapping[str, Tensor],
    kept: Sequence[tuple[Tensor, Tensor, Tensor]],
    sizes: Sequence[tuple[int, int]],
) -> list[Detections]:
    """Detections of the final boxes, with the masks that the mask head predicts in them.

    Args:
        mask_head: None: detections without masks.
        features: maps [B, C, H, W] by name.
        kept: boxes [N_i, 4], scores [N_i] and labels [N_i] of each image, as :func:`select_detections` returns them.
        sizes: (height, width) of each image.
    Raises:
        NotFiniteError: a mask logit is NaN or infinite.
    """
    masks: Sequence[Tensor | None] = [None] * len(kept)
    if mask_head is not None:
        labels_of_all = torch.cat([labels for _, _, labels in kept])
        logits = mask_head(features, [boxes for boxes, _, _ in kept], labels_of_all)
        require_finite("the masks' logits", logits)
        masks = logits.float().sigmoid().split([len(boxes) for boxes, _, _ in kept])
    return [
        Detections(boxes=boxes, scores=scores, labels=labels, mask_probs=probs, size=size)
        for (boxes, scores, labels), probs, size in zip(kept, masks, sizes, strict=True)
    ]
