"""Random subsets of matched boxes, a bounded share of them positive."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_balanced(
    state: Tensor, count: int, positive_fraction: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draw at most ``count`` boxes, at most ``positive_fraction`` of them positive; background fills the rest.

    Args:
        state: [N], above 0 positive, 0 background, below 0 left out.
        count: how many to draw.
        positive_fraction: share of positives, at most.
        generator: the source of randomness, on the device of ``state``; None: that device's global one.
    Returns:
        indices of the positive and of the background ones, each in random order.
    """
    assert 0 <= positive_fraction <= 1, positive_fraction
    positive = (state > 0).nonzero().squeeze(1)
    negative = (state == 0).nonzero().squeeze(1)
    num_positive = min(positive.numel(), int(count * positive_fraction))
    num_negative = min(negative.numel(), count - num_positive)
    return draw(positive, num_positive, generator), draw(negative, num_negative, generator)


def draw(indices: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """``count`` of the indices, without replacement."""
    order = torch.randperm(indices.numel(), generator=generator, device=indices.device)
    return indices[order[:count]]
