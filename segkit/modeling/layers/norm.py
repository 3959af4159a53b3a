"""Normalisation layers by name, for components with a ``norm`` argument."""

from __future__ import annotations

import math

from torch import nn

from segkit.modeling.layers.frozen_bn import FrozenBatchNorm2d
from segkit.utils.errors import SegkitError, did_you_mean

NORMS = ("bn", "frozen_bn", "gn")


def make_norm(name: str, channels: int, eps: float = 1e-5) -> nn.Module:
    """A normalisation layer over ``channels``.

    Args:
        name: ``bn``, ``frozen_bn`` or ``gn`` (32 groups, or as many of them as divide the channels).
        channels: number of channels.
        eps: added to the variance.
    """
    if name == "bn":
        return nn.BatchNorm2d(channels, eps=eps)
    if name == "frozen_bn":
        return FrozenBatchNorm2d(channels, eps=eps)
    if name == "gn":
        return nn.GroupNorm(math.gcd(32, channels), channels, eps=eps)
    raise SegkitError(f"there is no norm '{name}'{did_you_mean(name, NORMS)}", key="norm", value=name, choices=NORMS)


def replace_batch_norms(module: nn.Module, name: str) -> None:
    """Put ``make_norm(name)`` in the place of every ``BatchNorm2d`` inside a newly made ``module``, with its eps."""
    if name == "bn":
        return
    for child_name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, child_name, make_norm(name, child.num_features, child.eps))
        else:
            replace_batch_norms(child, name)
