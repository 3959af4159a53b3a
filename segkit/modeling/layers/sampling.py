"""Random subsets of matched anchors or proposals with a bounded share of positives.

torchvision's ``BalancedPositiveNegativeSampler`` is private and takes no generator, with which a step can be repeated.
"""

from __future__ import annotations

import torch
from torch import Tensor


def subsample_labels(
    match_labels: Tensor, num_samples: int, positive_fraction: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draws positive and background boxes, at most ``num_samples`` in all.

    Background fills up what positives leave free.

    Args:
        match_labels: [N]: 1 positive, 0 background, -1 ignored; see :class:`~segkit.modeling.layers.matching.Matches`.
        num_samples: how many boxes are drawn at most.
        positive_fraction: largest share of positives, in 0..1.
        generator: source of randomness, on the device of ``match_labels``; None: that device's global one.
    Returns:
        int64 indices of the drawn positive and background boxes, each in random order.
    """
    assert 0 <= positive_fraction <= 1, positive_fraction
    positive = (match_labels > 0).nonzero().squeeze(1)
    negative = (match_labels == 0).nonzero().squeeze(1)
    num_positive = min(positive.numel(), int(num_samples * positive_fraction))
    num_negative = min(negative.numel(), num_samples - num_positive)
    return draw(positive, num_positive, generator), draw(negative, num_negative, generator)


def draw(indices: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """``count`` of the indices, without replacement."""
    order = torch.randperm(indices.numel(), generator=generator, device=indices.device)
    return indices[order[:count]]
