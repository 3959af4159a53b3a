"""Plain functions on boxes [N, 4] XYXY in pixels, fp32."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes [..., 4] cut at an image of size (height, width)."""
    height, width = size
    limit = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
    return torch.minimum(boxes.clamp(min=0), limit)


def usable(boxes: Tensor, scores: Tensor, min_size: float) -> Tensor:
    """[N] bool: boxes with an area, sides of at least ``min_size`` pixels and finite numbers.

    One box that is not finite would poison the suppression of all others.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    return (sides >= min_size).all(dim=1) & (sides > 0).all(dim=1) & torch.isfinite(scores)


def has_area(boxes: Tensor) -> Tensor:
    """[N] bool: boxes of positive width and height; one that is not a number has none."""
    return (boxes[:, 2:] > boxes[:, :2]).all(dim=1)


def intersections(boxes: Tensor, others: Tensor) -> Tensor:
    """[N, M] areas that boxes [N, 4] and others [M, 4] share, in square pixels."""
    # Width and height apart and in place: reducing a last axis of two takes a CPU ten times as long.
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)  # [N, 1] each
    width = torch.minimum(x1, others[:, 2]).sub_(torch.maximum(x0, others[:, 0])).clamp_(min=0)
    height = torch.minimum(y1, others[:, 3]).sub_(torch.maximum(y0, others[:, 1])).clamp_(min=0)
    return width.mul_(height)


def box_areas(boxes: Tensor) -> Tensor:
    """[N] areas in square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def class_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, limit: int | None = None) -> Tensor:
    """Indices kept by non-maximum suppression within each group, best score first, equal scores in their order.

    In fp32: the usual trick adds a large offset a group, which half precision cannot hold (duplicates survive in fp16,
    neighbours vanish in bf16).

    Args:
        boxes: [N, 4].
        scores: [N].
        groups: int64 [N].
        iou_threshold: of two boxes of a group that overlap more the lower-scored goes.
        limit: how many are wanted at most.
    """
    boxes, scores = boxes.float(), scores.float()
    order = scores.argsort(descending=True, stable=True)
    # What goes is decided by better boxes alone. So the best of all are the best of the first few already, where enough
    # of these stay.
    reach = len(order) if limit is None else 4 * limit
    while True:
        first = order[:reach]
        kept = first[_suppress(boxes[first], scores[first], groups[first], iou_threshold)]
        if reach >= len(order) or (limit is not None and len(kept) >= limit):
            return kept[:limit]
        reach *= 4


def _suppress(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Indices kept, ascending; the boxes come best first."""
    if boxes.device.type != "cpu":
        return batched_nms(boxes, scores, groups, iou_threshold).sort().values
    # Group by group on slices of sorted boxes: not slower than either of torchvision's ways, and without an offset,
    # whose rounding shows in the overlaps of small boxes.
    order = groups.argsort(stable=True)
    counts = groups[order].unique_consecutive(return_counts=True)[1].tolist()
    pieces = zip(boxes[order].split(counts), scores[order].split(counts), order.split(counts), strict=True)
    kept = [numbers[nms(some, values, iou_threshold)] for some, values, numbers in pieces]
    return torch.cat([order[:0], *kept]).sort().values
