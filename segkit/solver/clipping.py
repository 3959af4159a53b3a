"""Bounds for the gradient."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


def clip_gradients(
    parameters: Sequence[nn.Parameter], *, max_norm: float | None = None, max_value: float | None = None
) -> Tensor:
    """Clips the gradients in place: first each component to at most ``max_value``, then their common norm to ``max_norm``.

    In this order both bounds hold for what the optimizer gets.

    Returns:
        the 2-norm before any clipping, on the device. It also tells whether all was finite, which clipped values do not:
        an infinite component becomes ``max_value``.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if max_value is not None:
        nn.utils.clip_grad_value_(parameters, max_value)
    if max_norm is not None:
        clipped_norm = norm if max_value is None else nn.utils.get_total_norm(gradients)
        nn.utils.clip_grads_with_norm_(parameters, max_norm, clipped_norm)
    return norm
