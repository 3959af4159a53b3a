"""Box regression losses by the name in ``box_loss``. Sum-reduced; the caller normalises.

A new loss is a name in ``BoxLoss`` and ``BOX_LOSSES`` and a branch in :func:`box_loss_sum`; the RPN and the box heads
then take it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from segkit.modeling.layers.box_regression import apply_deltas, get_deltas
from segkit.utils.errors import SegkitError, did_you_mean

BoxLoss = Literal["smooth_l1", "giou"]
BOX_LOSSES = ("smooth_l1", "giou")


def box_loss_sum(
    pred_deltas: Tensor,
    src_boxes: Tensor,
    gt_boxes: Tensor,
    weights: tuple[float, float, float, float],
    *,
    kind: BoxLoss,
    beta: float,
) -> Tensor:
    """Sum of the box losses in fp32; 0 with a gradient if there are no boxes.

    Args:
        pred_deltas: [N, 4] predicted deltas of the source boxes.
        src_boxes: [N, 4] anchors or proposals.
        gt_boxes: [N, 4] the matched ground truth of each.
        weights: factors of the deltas (dx, dy, dw, dh).
        kind: ``smooth_l1`` compares the four deltas of a box (Fast R-CNN, Girshick 2015, eq. 3); ``giou`` compares the
            boxes themselves, as 1 - GIoU, in 0..2 a box (Rezatofighi et al. 2019, algorithm 2).
        beta: of smooth L1, see :func:`smooth_l1_sum`.
    """
    if kind == "giou":
        # apply_deltas returns fp32 for deltas of any precision.
        pred_boxes = apply_deltas(pred_deltas, src_boxes, weights)
        return generalized_box_iou_loss(pred_boxes, gt_boxes.float(), reduction="sum")
    target_deltas = get_deltas(src_boxes, gt_boxes, weights)
    return smooth_l1_sum(pred_deltas, target_deltas, beta)


def smooth_l1_sum(pred_deltas: Tensor, target_deltas: Tensor, beta: float) -> Tensor:
    """Sum of the smooth L1 distances (Fast R-CNN, Girshick 2015, eq. 3) in fp32.

    Args:
        pred_deltas: any shape.
        target_deltas: the same shape.
        beta: distance below which the loss is quadratic; 0 is plain L1.
    """
    distance = (pred_deltas.float() - target_deltas.float()).abs()
    if beta > 0:
        distance = torch.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta)
    return distance.sum()


def check_box_loss(kind: str) -> None:
    """Raises a SegkitError unless ``kind`` is a name in BOX_LOSSES."""
    if kind not in BOX_LOSSES:
        raise SegkitError(
            f"there is no box_loss '{kind}'{did_you_mean(kind, BOX_LOSSES)}", value=kind, choices=BOX_LOSSES
        )
