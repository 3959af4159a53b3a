"""Losses of box offsets, as sums: what they are divided by is the component's matter."""

from __future__ import annotations

import torch
from torch import Tensor


def smooth_l1_sum(prediction: Tensor, target: Tensor, beta: float) -> Tensor:
    """Sum of the smooth L1 distances (Fast R-CNN, Girshick 2015, eq. 3) in fp32.

    Args:
        prediction: offsets, any shape.
        target: same shape.
        beta: where the quadratic part ends; 0 is plain L1.
    """
    distance = (prediction.float() - target.float()).abs()
    if beta > 0:
        distance = torch.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta)
    return distance.sum()
