"""Box deltas (dx, dy, dw, dh) from source to target boxes, and back.

R-CNN, Girshick et al. 2014, appendix C.

Boxes are XYXY in pixels. All arithmetic is fp32 for any precision of the network: bf16 resolves a coordinate of
1,000 to 4 pixels only. torchvision's ``BoxCoder`` is private and computes in the precision of its input.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# dw and dh are clamped before exp(), so that one bad prediction cannot overflow: a side grows at most 1000 / 16 times.
MAX_LOG_SCALE = math.log(1000.0 / 16)


def get_deltas(src_boxes: Tensor, target_boxes: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Deltas that move each source box to its target box.

    Args:
        src_boxes: [N, 4] anchors or proposals, of positive width and height.
        target_boxes: [N, 4], usually ground truth.
        weights: factors of (dx, dy, dw, dh).
    Returns:
        [N, 4] deltas, fp32.
    """
    src_boxes, target_boxes = src_boxes.float(), target_boxes.float()
    size = src_boxes[:, 2:] - src_boxes[:, :2]
    centre = src_boxes[:, :2] + 0.5 * size
    target_size = target_boxes[:, 2:] - target_boxes[:, :2]
    target_centre = target_boxes[:, :2] + 0.5 * target_size
    scale = delta_scale(weights, target_boxes)
    return torch.cat([(target_centre - centre) / size, torch.log(target_size / size)], dim=1) * scale


def apply_deltas(deltas: Tensor, src_boxes: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Source boxes moved by their deltas: the inverse of :func:`get_deltas`.

    Args:
        deltas: [..., 4].
        src_boxes: [..., 4] anchors or proposals, broadcast against ``deltas``.
        weights: the factors of (dx, dy, dw, dh) that ``get_deltas`` was called with.
    Returns:
        [..., 4] boxes XYXY, fp32, not clipped.
    """
    deltas, src_boxes = deltas.float(), src_boxes.float()
    deltas = deltas / delta_scale(weights, deltas)
    size = src_boxes[..., 2:] - src_boxes[..., :2]
    centre = src_boxes[..., :2] + 0.5 * size
    new_centre = centre + deltas[..., :2] * size
    half = 0.5 * size * torch.exp(deltas[..., 2:].clamp(max=MAX_LOG_SCALE))
    return torch.cat([new_centre - half, new_centre + half], dim=-1)


def delta_scale(weights: tuple[float, float, float, float], like: Tensor) -> Tensor:
    """The four weights as an fp32 tensor [4] on the device of ``like``."""
    return torch.tensor(weights, dtype=torch.float32, device=like.device)
