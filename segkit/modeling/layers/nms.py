"""NMS (non-maximum suppression) within classes or pyramid levels, always in fp32.

The kernel is torchvision's. Its ``batched_nms`` has no limit and shifts the groups apart in the precision of the boxes; on
2,000 boxes of which 300 are kept both take 1.1 ms (docs/benchmarks.md).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms as torchvision_batched_nms
from torchvision.ops import nms


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float, limit: int | None = None) -> Tensor:
    """Indices of the boxes that NMS keeps within each group, best score first.

    Always in fp32: torchvision shifts each group by a large offset, which half precision cannot represent (duplicates
    survive in fp16, neighbouring objects disappear in bf16).

    Args:
        boxes: [N, 4] XYXY.
        scores: [N].
        idxs: int64 [N], the group of each box: its class or its pyramid level.
        iou_threshold: of two boxes of a group with a larger IoU, the one with the lower score is removed.
        limit: how many indices are returned at most; None: all.
    """
    boxes, scores = boxes.float(), scores.float()
    order = scores.argsort(descending=True, stable=True)
    # Only boxes with a higher score can remove a box. If enough of the first few survive, they are the best of all.
    candidates = len(order) if limit is None else 4 * limit
    while True:
        first = order[:candidates]
        kept = first[_nms_best_first(boxes[first], scores[first], idxs[first], iou_threshold)]
        if candidates >= len(order) or (limit is not None and len(kept) >= limit):
            return kept[:limit]
        candidates *= 4


def _nms_best_first(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the kept boxes in ascending order, for boxes that are sorted by score."""
    if boxes.device.type != "cpu":
        return torchvision_batched_nms(boxes, scores, idxs, iou_threshold).sort().values
    # One call of NMS for each group: as fast as torchvision's batched NMS, and without its offset, whose rounding
    # changes the IoU of small boxes.
    order = idxs.argsort(stable=True)
    counts = idxs[order].unique_consecutive(return_counts=True)[1].tolist()
    groups = zip(boxes[order].split(counts), scores[order].split(counts), order.split(counts), strict=True)
    kept = [indices[nms(group_boxes, group_scores, iou_threshold)] for group_boxes, group_scores, indices in groups]
    return torch.cat([order[:0], *kept]).sort().values
