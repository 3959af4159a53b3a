"""The first convolution of a network for other images than RGB."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit.utils.errors import SegkitError


def replace_stem(network: nn.Module, path: str, in_channels: int) -> None:
    """Put a convolution for ``in_channels`` in the place of the one called ``path``, its start values as widely spread.

    Args:
        network: newly made; changed in place.
        path: name of its first convolution.
        in_channels: channels of the images.
    """
    if in_channels < 1:
        raise SegkitError(f"in_channels is {in_channels}; it is 1 or more", key="in_channels", value=in_channels)
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
    """Filters [O, 3, h, w] for RGB images as filters [O, in_channels, h, w].

    One channel: the sum over RGB, which answers to a grey image exactly as the three did to its copies. Otherwise R, G, B,
    R, ... scaled by 3 / in_channels, so that the answers keep their size.
    """
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, [i % 3 for i in range(in_channels)]] * (3 / in_channels)
