"""Box operations: clipping, validity, areas, pairwise intersections.

Boxes are XYXY in pixels, fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Clips boxes [..., 4] to an image of ``size`` (height, width)."""
    height, width = size
    limit = torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
    return torch.minimum(boxes.clamp(min=0), limit)


def valid_for_nms(boxes: Tensor, scores: Tensor, min_size: float) -> Tensor:
    """Bool [N]: boxes with area, sides of at least ``min_size`` pixels and a finite score.

    A box that is not finite would spoil NMS for all others.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    return (sides >= min_size).all(dim=1) & (sides > 0).all(dim=1) & torch.isfinite(scores)


def has_area(boxes: Tensor) -> Tensor:
    """Bool [N]: boxes of positive width and height; a box with a NaN coordinate has none."""
    return (boxes[:, 2:] > boxes[:, :2]).all(dim=1)


def intersections(boxes: Tensor, others: Tensor) -> Tensor:
    """Areas [N, M] in which boxes [N, 4] and others [M, 4] overlap, in square pixels."""
    # Width and height separately and in place: on a CPU, a reduction over a last axis of two takes ten times as long.
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)  # [N, 1] each
    width = torch.minimum(x1, others[:, 2]).sub_(torch.maximum(x0, others[:, 0])).clamp_(min=0)
    height = torch.minimum(y1, others[:, 3]).sub_(torch.maximum(y0, others[:, 1])).clamp_(min=0)
    return width.mul_(height)


def box_areas(boxes: Tensor) -> Tensor:
    """Areas [N] in square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
