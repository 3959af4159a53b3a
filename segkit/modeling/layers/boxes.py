"""Plain functions on boxes [N, 4] XYXY in pixels, fp32."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms


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
    top_left = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (bottom_right - top_left).clamp(min=0).prod(dim=2)


def box_areas(boxes: Tensor) -> Tensor:
    """[N] areas in square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def class_nms(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Indices kept by non-maximum suppression within each group, best score first.

    In fp32: the usual trick adds a large offset a group, which half precision cannot hold (duplicates survive in fp16,
    neighbours vanish in bf16).
    """
    return batched_nms(boxes.float(), scores.float(), groups, iou_threshold)
