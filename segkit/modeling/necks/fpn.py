"""Feature pyramid network, FPN (Lin et al., 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from segkit.modeling.layers.feature_spec import FeatureSpec, check_features
from segkit.modeling.layers.norm import NormName, make_norm
from segkit.registry import NECK_REGISTRY
from segkit.utils.errors import SegkitError


@NECK_REGISTRY.register
class FPN(nn.Module):
    """Adds upsampled coarse maps to finer ones, from the coarsest to the finest.

    Args:
        in_features: the backbone's maps, finest first, each with twice the stride of the one before.
        out_channels: channels of every output map.
        top_block: adds maps coarser than the backbone's: ``maxpool``, every second pixel of the last one (one map);
            ``p6p7``, 3x3 convolutions of stride 2 (two maps; Lin et al., "Focal loss", 2017); null: none.
        norm: of each convolution, in place of a bias: ``bn``, ``frozen_bn``, ``sync_bn``, ``gn`` or a class, see
            :func:`make_norm`; null: none.

    Attributes:
        out_features: ``p2`` for stride 4, ``p3`` for stride 8, ...
    """

    examples = ({"out_channels": 16}, {"out_channels": 16, "top_block": "p6p7", "norm": "gn"})

    def __init__(
        self,
        in_features: Mapping[str, FeatureSpec],
        *,
        out_channels: int = 256,
        top_block: Literal["maxpool", "p6p7", None] = "maxpool",
        norm: NormName | None = None,
    ) -> None:
        super().__init__()
        if out_channels < 1:
            raise SegkitError(
                f"out_channels is {out_channels}; expected at least 1", key="out_channels", value=out_channels
            )
        if top_block not in ("maxpool", "p6p7", None):
            raise SegkitError(
                f"top_block is '{top_block}'; valid: maxpool, p6p7, null", key="top_block", value=top_block
            )
        check_features(in_features, "in_features")
        strides = [spec.stride for spec in in_features.values()]
        if not strides or any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
            raise SegkitError(
                f"FPN needs maps that each have twice the stride of the one before; their strides are {strides}"
            )
        self.in_names = list(in_features)
        self.top_block = top_block
        self.lateral_convs = nn.ModuleList(conv(s.channels, out_channels, 1, norm) for s in in_features.values())
        self.output_convs = nn.ModuleList(conv(out_channels, out_channels, 3, norm) for _ in in_features)
        if top_block == "maxpool":
            strides = [*strides, 2 * strides[-1]]
        elif top_block == "p6p7":
            strides = [*strides, 2 * strides[-1], 4 * strides[-1]]
            self.top_convs = nn.ModuleList(conv(out_channels, out_channels, 3, None, stride=2) for _ in range(2))
        self.out_features = {f"p{s.bit_length() - 1}": FeatureSpec(out_channels, s) for s in strides}

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Maps [B, out_channels, H, W] by the names in ``out_features``.

        Args:
            features: the backbone's maps [B, C, H, W] by name.
        """
        laterals = [lateral(features[name]) for lateral, name in zip(self.lateral_convs, self.in_names, strict=True)]
        merged = [laterals[-1]]
        for lateral in reversed(laterals[:-1]):
            # To the lateral's size, not by 2: for odd sizes the backbone rounds the coarser map up or down.
            merged.insert(0, lateral + F.interpolate(merged[0], size=lateral.shape[-2:], mode="nearest"))
        maps = [output(x) for output, x in zip(self.output_convs, merged, strict=True)]
        if self.top_block == "maxpool":
            maps.append(maps[-1][..., ::2, ::2])  # a 1x1 max pool of stride 2; this is deterministic on CUDA too
        elif self.top_block == "p6p7":
            maps.append(self.top_convs[0](maps[-1]))
            maps.append(self.top_convs[1](F.relu(maps[-1])))
        return dict(zip(self.out_features, maps, strict=True))


def conv(in_channels: int, out_channels: int, size: int, norm: NormName | None, stride: int = 1) -> nn.Module:
    """A padded convolution with its norm, initialised as in the paper's code."""
    layer = nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=norm is None)
    nn.init.kaiming_uniform_(layer.weight, a=1)
    if norm is None:
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
        return layer
    return nn.Sequential(layer, make_norm(norm, out_channels))
