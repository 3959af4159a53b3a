"""Bounds for the gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


@torch.no_grad()
def clip_gradients(
    parameters: Sequence[nn.Parameter], *, max_norm: float | None = None, max_value: float | None = None
) -> Tensor:
    """Clips the gradients in place: first each component to at most ``max_value``, then their common norm to ``max_norm``.

    In this order both bounds hold for what the optimizer gets. It is what ``torch.nn.utils`` does, to the bit, without its
    sorting by device and type, which takes longer than the arithmetic where there are hundreds of small tensors.

    Args:
        parameters: on one device; those without a gradient are left alone.
    Returns:
        the 2-norm before any clipping, on the device. It also tells whether all was finite, which clipped values do not:
        an infinite component becomes ``max_value``.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = total_norm(gradients)
    if not gradients:
        return norm
    if max_value is not None:
        torch._foreach_clamp_min_(gradients, -max_value)
        torch._foreach_clamp_max_(gradients, max_value)
    if max_norm is not None:
        clipped_norm = norm if max_value is None else total_norm(gradients)
        torch._foreach_mul_(gradients, torch.clamp(max_norm / (clipped_norm + 1e-6), max=1.0))
    return norm


def total_norm(tensors: list[Tensor]) -> Tensor:
    """The 2-norm of all components together, on the device; 0 where there are none."""
    if not tensors:
        return torch.tensor(0.0)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
