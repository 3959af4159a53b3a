"""Normalisation layers by name, for components with a ``norm`` argument."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from segkit.modeling.layers.frozen_bn import FrozenBatchNorm2d
from segkit.utils import distributed
from segkit.utils.errors import SegkitError, did_you_mean

NormName = Literal["bn", "frozen_bn", "sync_bn", "gn"]
NORMS = ("bn", "frozen_bn", "sync_bn", "gn")


class SyncBatchNorm2d(nn.SyncBatchNorm):
    """Batch normalisation over the images of all processes; the state is that of ``BatchNorm2d``.

    torch's own, but that one process alone may be on any device, also where a process group exists.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and distributed.world_size() > 1:
            if x.device.type != "cuda":
                raise SegkitError(
                    f"norm: sync_bn over several processes needs CUDA, and this run is on the {x.device.type}; take bn or gn",
                    key="norm",
                    value="sync_bn",
                )
            return super().forward(x)
        return nn.BatchNorm2d.forward(self, x)


def make_norm(name: str, channels: int, eps: float = 1e-5, momentum: float | None = 0.1) -> nn.Module:
    """A normalisation layer over ``channels``.

    Args:
        name: ``bn``; ``frozen_bn``; ``sync_bn``; ``gn`` (32 groups, or as many of them as divide the channels).
        channels: number of channels.
        eps: added to the variance.
        momentum: weight of a batch in the running statistics, where there are any.
    """
    if name == "bn":
        return nn.BatchNorm2d(channels, eps=eps, momentum=momentum)
    if name == "frozen_bn":
        return FrozenBatchNorm2d(channels, eps=eps)
    if name == "sync_bn":
        return SyncBatchNorm2d(channels, eps=eps, momentum=momentum)
    if name == "gn":
        return nn.GroupNorm(math.gcd(32, channels), channels, eps=eps)
    raise SegkitError(f"there is no norm '{name}'{did_you_mean(name, NORMS)}", key="norm", value=name, choices=NORMS)


def replace_batch_norms(module: nn.Module, name: str) -> None:
    """Put ``make_norm(name)`` in the place of every ``BatchNorm2d`` inside a newly made ``module``, with its eps."""
    if name not in NORMS:
        make_norm(name, 1)  # says which there are
    if name == "bn":
        return
    for child_name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, child_name, make_norm(name, child.num_features, child.eps, child.momentum))
        else:
            replace_batch_norms(child, name)
