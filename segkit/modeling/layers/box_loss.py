"""How far predicted boxes are from their objects, as sums: what they are divided by is the component's matter."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from segkit.modeling.layers.box_coder import decode_boxes, encode_boxes
from segkit.modeling.layers.losses import smooth_l1_sum
from segkit.utils.errors import SegkitError, did_you_mean

BoxLoss = Literal["smooth_l1", "giou"]
BOX_LOSSES = ("smooth_l1", "giou")


def box_loss_sum(
    offsets: Tensor,
    references: Tensor,
    objects: Tensor,
    weights: tuple[float, float, float, float],
    *,
    kind: BoxLoss,
    beta: float,
) -> Tensor:
    """Sum of the box losses in fp32; 0 with a gradient where there are no boxes.

    Args:
        offsets: [N, 4] predicted, from the references.
        references: [N, 4] anchors or proposals.
        objects: [N, 4] what each should be.
        weights: factors of the offsets (dx, dy, dw, dh).
        kind: ``smooth_l1`` compares offsets, a number at a time (Fast R-CNN, Girshick 2015, eq. 3); ``giou`` compares
            the boxes themselves, as 1 - GIoU, in 0..2 a box (Rezatofighi et al. 2019, algorithm 2).
        beta: of smooth L1, see :func:`smooth_l1_sum`.
    """
    if kind == "giou":
        # In fp32: decoding gives that, whatever the offsets are.
        return generalized_box_iou_loss(decode_boxes(offsets, references, weights), objects.float(), reduction="sum")
    return smooth_l1_sum(offsets, encode_boxes(objects, references, weights), beta)


def check_box_loss(kind: str) -> None:
    """SegkitError unless there is such a loss."""
    if kind not in BOX_LOSSES:
        raise SegkitError(
            f"there is no box_loss '{kind}'{did_you_mean(kind, BOX_LOSSES)}", value=kind, choices=BOX_LOSSES
        )
