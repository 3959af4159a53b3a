"""Boxes as offsets from reference boxes, and back (R-CNN, Girshick et al. 2014, appendix C).

Boxes are XYXY in pixels. All arithmetic is fp32, whatever the precision of the network: in bf16 a coordinate of 1,000
is known to 4 pixels only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# exp() of a size offset is bounded so that one bad prediction cannot overflow: a box grows at most by 1000 / 16.
MAX_LOG_SCALE = math.log(1000.0 / 16)


def encode_boxes(boxes: Tensor, references: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Offsets that take each reference box to its box.

    Args:
        boxes: [N, 4] targets.
        references: [N, 4] anchors or proposals, of positive width and height.
        weights: factors of (dx, dy, dw, dh).
    Returns:
        [N, 4] offsets, fp32.
    """
    boxes, references = boxes.float(), references.float()
    size = references[:, 2:] - references[:, :2]
    centre = references[:, :2] + 0.5 * size
    box_size = boxes[:, 2:] - boxes[:, :2]
    box_centre = boxes[:, :2] + 0.5 * box_size
    scale = offset_scale(weights, boxes)
    return torch.cat([(box_centre - centre) / size, torch.log(box_size / size)], dim=1) * scale


def decode_boxes(offsets: Tensor, references: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Boxes from offsets: the inverse of :func:`encode_boxes`.

    Args:
        offsets: [..., 4].
        references: [..., 4], broadcast against ``offsets``.
        weights: factors of (dx, dy, dw, dh) used when encoding.
    Returns:
        [..., 4] boxes XYXY, fp32, not clipped.
    """
    offsets, references = offsets.float(), references.float()
    offsets = offsets / offset_scale(weights, offsets)
    size = references[..., 2:] - references[..., :2]
    centre = references[..., :2] + 0.5 * size
    new_centre = centre + offsets[..., :2] * size
    half = 0.5 * size * torch.exp(offsets[..., 2:].clamp(max=MAX_LOG_SCALE))
    return torch.cat([new_centre - half, new_centre + half], dim=-1)


def offset_scale(weights: tuple[float, float, float, float], like: Tensor) -> Tensor:
    """The four weights as a tensor [4] beside ``like``."""
    return torch.tensor(weights, dtype=torch.float32, device=like.device)
