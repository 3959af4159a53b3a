"""Gradient clipping by value and by norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm


@torch.no_grad()
def clip_gradients(
    parameters: Sequence[nn.Parameter], *, max_norm: float | None = None, max_value: float | None = None
) -> Tensor:
    """Clips the gradients in place: first to ``max_value``, then their norm to ``max_norm``.

    In this order both bounds hold for the gradients that the optimizer gets.

    Args:
        parameters: on one device; those without a gradient are skipped.
    Returns:
        the 2-norm of all gradients before clipping, a scalar on the device; 0 without gradients. It is not finite if a
        gradient is not. The clipped gradients do not show that: an infinite component becomes ``max_value``.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = get_total_norm(gradients)
    if not gradients:  # clip_grad_value_ raises an error for none
        return norm
    if max_value is not None:
        clip_grad_value_(parameters, max_value)
    if max_norm is not None:
        clip_grads_with_norm_(parameters, max_norm, norm if max_value is None else get_total_norm(gradients))
    return norm
