"""Adapts a network's first convolution to images with other channels than RGB."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit.utils.errors import SegkitError


def replace_stem(network: nn.Module, path: str, in_channels: int) -> None:
    """Replaces the convolution ``path`` by a random one for ``in_channels``, equally scaled.

    Args:
        network: newly built; changed in place.
        path: name of the first convolution.
        in_channels: channels of the images.
    """
    if in_channels < 1:
        raise SegkitError(f"in_channels is {in_channels}; expected at least 1", key="in_channels", value=in_channels)
    old = network.get_submodule(path)
    assert isinstance(old, nn.Conv2d) and old.groups == 1, f"{path} is no plain convolution"
    if in_channels == old.in_channels:
        return
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        dilation=old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    with torch.no_grad():
        new.weight.copy_(torch.randn_like(new.weight) * old.weight.std())
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, new)


def adapt_stem_weight(weight: Tensor, in_channels: int) -> Tensor:
    """Filters [O, in_channels, h, w] from filters [O, 3, h, w] for RGB, as in timm.

    One channel: the sum over RGB, whose output for a grey image is exactly that of the RGB filters for three copies of
    it. Otherwise R, G, B, R, ... scaled by 3 / in_channels, which keeps the size of the output.
    """
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, [i % 3 for i in range(in_channels)]] * (3 / in_channels)
