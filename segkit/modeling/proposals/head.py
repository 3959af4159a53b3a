"""RPN head: the convolutions that predict objectness and box deltas of each anchor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.modeling.layers.activation import ActivationName, make_activation
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.state_names import rename_layer
from segkit.modeling.layers.windows import pixel_windows
from segkit.registry import RPN_HEAD_REGISTRY
from segkit.utils.errors import SegkitError

MAX_CONVS = 100  # a mistyped conv_depth must not fill the memory with layers


@RPN_HEAD_REGISTRY.register
class RPNHead(nn.Module):
    """3x3 convolutions for all levels, then objectness and box deltas (Ren et al. 2015, 3.1).

    Args:
        in_features: the feature maps, all with the same number of channels.
        num_anchors: A, anchors at each pixel.
        conv_depth: number of 3x3 convolutions.
        channels: number of their output channels; null: that of the feature maps.
        activation: after each 3x3 convolution: ``relu``, ``gelu``, ``silu`` or a class, see :func:`make_activation`.
    """

    examples = ({"conv_depth": 1}, {"conv_depth": 2, "channels": 12})

    def __init__(
        self,
        in_features: Mapping[str, FeatureSpec],
        num_anchors: int,
        *,
        conv_depth: int = 1,
        channels: int | None = None,
        activation: ActivationName = "relu",
    ) -> None:
        super().__init__()
        widths = {spec.channels for spec in in_features.values()}
        if len(widths) != 1:
            raise SegkitError(
                f"the levels {', '.join(in_features)} must share one number of channels, not {sorted(widths)}"
            )
        if not 1 <= conv_depth <= MAX_CONVS:
            raise SegkitError(f"conv_depth must be 1 to {MAX_CONVS}, not {conv_depth}")
        if channels is not None and channels < 1:
            raise SegkitError(f"channels must be at least 1, not {channels}")
        width = widths.pop()
        channels = channels or width
        self.activation = make_activation(activation)
        inputs = [width] + [channels] * (conv_depth - 1)
        self.convs = nn.ModuleList(nn.Conv2d(c, channels, 3, padding=1) for c in inputs)
        self.objectness = nn.Conv2d(channels, num_anchors, 1)
        self.deltas = nn.Conv2d(channels, num_anchors * 4, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness logits [B, H * W * A] and box deltas [B, H * W * A, 4] of each level.

        Args:
            features: [B, C, H, W] for each level.
        """
        objectness, pred_deltas = [], []
        for hidden in features:
            for conv in self.convs:
                hidden = self.activation(conv(hidden))
            batch = hidden.shape[0]
            objectness.append(self.objectness(hidden).permute(0, 2, 3, 1).reshape(batch, -1))
            pred_deltas.append(self.deltas(hidden).permute(0, 2, 3, 1).reshape(batch, -1, 4))
        return objectness, pred_deltas

    def forward_at_anchors(self, features: Sequence[Tensor], images: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Objectness logits [S] and box deltas [S, 4] of chosen anchors, equal to ``forward``'s.

        The losses use a few hundred of the hundreds of thousands of anchors. Only the windows of the maps that these
        depend on are computed, so that the backward pass costs next to nothing and the hidden maps are not kept for it.

        Args:
            features: [B, C, H, W] for each level.
            images: int64 [S], index of the image of each anchor.
            anchors: int64 [S], index of the anchor in the order of ``forward``, the levels one after the other.
        """
        num_anchors = self.objectness.out_channels
        depth = len(self.convs)
        hidden, inside = pixel_windows(features, images, anchors // num_anchors, radius=depth)
        for number, conv in enumerate(self.convs, start=1):
            assert isinstance(conv, nn.Conv2d)
            hidden = self.activation(F.conv2d(hidden, conv.weight, conv.bias))
            if number < depth:
                # Outside the map the next convolution pads with zeros, not with this one's output on its own padding.
                hidden = hidden * inside[..., number:-number, number:-number].to(hidden.dtype)
        shapes = anchors % num_anchors  # which of the anchors of its pixel
        objectness = self.objectness(hidden).flatten(1)  # [S, A]
        pred_deltas = self.deltas(hidden).reshape(-1, num_anchors, 4)
        rows = torch.arange(len(anchors), device=anchors.device)
        return objectness[rows, shapes], pred_deltas[rows, shapes]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        rename_layer(self, state_dict, prefix, "offsets", "deltas")
        super()._load_from_state_dict(state_dict, prefix, *args)
