"""Normalisation layers by name, for components with a ``norm`` argument."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from segkit.config.typecheck import Checked
from segkit.modeling.layers.frozen_bn import FrozenBatchNorm2d
from segkit.modeling.layers.torch_layers import check_arguments_of, layer_class, make_layer, split_spec
from segkit.utils import distributed
from segkit.utils.components.signature import signature_of
from segkit.utils.errors import SegkitError

NORMS = ("bn", "frozen_bn", "sync_bn", "gn")
HOMES = (
    "torch.nn.modules.batchnorm",
    "torch.nn.modules.instancenorm",
    "torch.nn.modules.normalization",
    "torchvision.ops.misc",
    "torchvision.models.convnext",
)
CHANNELS = ("num_features", "num_channels", "normalized_shape")  # names of the parameter in torch's norms


def check_norm(norm: Any) -> None:
    """Raises a SegkitError unless ``norm`` is what :func:`make_norm` takes."""
    name, arguments = split_spec(norm, "norm")
    if name in NORMS:
        if arguments:
            raise SegkitError(f"'{name}' takes no arguments; with arguments, name torch's class: torch.nn.GroupNorm")
        return
    cls = layer_class(name, "norm", NORMS, HOMES)
    if cls in (nn.LayerNorm, nn.RMSNorm):
        raise SegkitError(
            f"{name} is for maps whose channels come last; for [B, C, H, W] there is torchvision.models.convnext.LayerNorm2d"
        )
    check_arguments_of(cls, name, arguments, channel_parameters(cls))


def channel_parameters(cls: type[nn.Module]) -> list[str]:
    """Names of a norm's parameters that take the number of channels."""
    options = signature_of(cls, frozenset()).options
    needed = [key for key, parameter in options.items() if parameter.default is parameter.empty]
    return [key for key in CHANNELS if key in options] or needed[:1] * (cls.__module__.split(".")[0] != "torch")


NormName = Annotated[
    str | Mapping[str, Any],
    Checked(
        check_norm, "'bn' or 'frozen_bn' or 'sync_bn' or 'gn' or a class {name: torch.nn.GroupNorm, num_groups: 8}"
    ),
]


class SyncBatchNorm2d(nn.SyncBatchNorm):
    """Batch normalisation over the images of all processes, with the state of ``BatchNorm2d``.

    Unlike torch's, it also runs on a CPU if there is one process only, whether or not a process group exists.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and distributed.world_size() > 1:
            if x.device.type != "cuda":
                raise SegkitError(
                    f"norm: sync_bn over several processes needs CUDA, but this run is on the {x.device.type}; use bn or gn",
                    key="norm",
                    value="sync_bn",
                )
            return super().forward(x)
        return nn.BatchNorm2d.forward(self, x)


def make_norm(
    norm: str | Mapping[str, Any], channels: int, eps: float = 1e-5, momentum: float | None = 0.1
) -> nn.Module:
    """Builds a normalisation layer over ``channels``.

    Args:
        norm: ``bn``; ``frozen_bn``; ``sync_bn``; ``gn`` (32 groups, or as many of them as divide the channels); the dotted
            path of a norm's class, such as ``torch.nn.InstanceNorm2d``; or ``{name: torch.nn.GroupNorm, num_groups: 8}``.
        channels: number of channels.
        eps: added to the variance; an ``eps`` in ``norm`` takes precedence.
        momentum: weight of a batch in the running statistics, if there are any; likewise.
    Raises:
        SegkitError: there is no such norm, or it does not work with this number of channels.
    """
    check_norm(norm)
    name, given = split_spec(norm, "norm")
    if name == "bn":
        return nn.BatchNorm2d(channels, eps=eps, momentum=momentum)
    if name == "frozen_bn":
        return FrozenBatchNorm2d(channels, eps=eps)
    if name == "sync_bn":
        return SyncBatchNorm2d(channels, eps=eps, momentum=momentum)
    if name == "gn":
        return nn.GroupNorm(math.gcd(32, channels), channels, eps=eps)
    cls = layer_class(name, "norm", NORMS, HOMES)
    options = signature_of(cls, frozenset()).options
    arguments: dict[str, Any] = dict.fromkeys(channel_parameters(cls), channels)
    arguments |= {key: value for key, value in (("eps", eps), ("momentum", momentum)) if key in options}
    # Width and channels differ, so that a norm over the last dimension fails.
    shape = (1, channels, 3, 5 if channels != 5 else 7)
    return make_layer(cls, name, arguments | given, lambda layer: layer(torch.ones(shape)).shape == shape)


def replace_batch_norms(module: nn.Module, name: str | Mapping[str, Any]) -> None:
    """Replaces each ``BatchNorm2d`` in ``module`` by a ``make_norm(name)`` of its eps."""
    check_norm(name)
    if name == "bn":
        return
    for child_name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, child_name, make_norm(name, child.num_features, child.eps, child.momentum))
        else:
            replace_batch_norms(child, name)
