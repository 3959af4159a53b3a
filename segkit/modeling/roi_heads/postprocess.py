"""From scored boxes of all classes to the detections of each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from segkit.modeling.interfaces import MaskHead
from segkit.modeling.layers.boxes import class_nms, clip_boxes, usable
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
    valid = usable(kept_boxes, kept_scores, min_size).nonzero().squeeze(1)  # a GPU is waited for once
    kept_boxes, kept_scores, labels = kept_boxes[valid], kept_scores[valid], labels[valid]
    best = class_nms(kept_boxes, kept_scores, labels, nms_threshold, limit)
    return kept_boxes[best], kept_scores[best], labels[best]


def masked_detections(
    mask_head: MaskHead | None,
    features: Mapping[str, Tensor],
    kept: Sequence[tuple[Tensor, Tensor, Tensor]],
    sizes: Sequence[tuple[int, int]],
) -> list[Detections]:
    """Detections of boxes that are final, with the masks that the mask head, where there is one, draws in them.

    Args:
        mask_head: None: boxes only.
        features: maps [B, C, H, W].
        kept: boxes [N_i, 4], scores and labels of each image, as :func:`select_detections` gives them.
        sizes: (height, width) of each image.
    Raises:
        NotFiniteError: the mask head gives NaN or infinity.
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
