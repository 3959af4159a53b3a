"""The convolutions of a region proposal network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.modeling.layers.activation import ActivationName, make_activation
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.windows import pixel_windows
from segkit.registry import RPN_HEAD_REGISTRY
from segkit.utils.errors import SegkitError

MOST_CONVS = 100  # a mistyped number is not to fill the memory with layers


@RPN_HEAD_REGISTRY.register
class RPNHead(nn.Module):
    """3x3 convolutions shared by all levels, then objectness and box offsets (Ren et al. 2015, section 3.1).

    Args:
        in_features: the feature maps, all of one number of channels.
        num_anchors: anchors a pixel.
        conv_depth: number of 3x3 convolutions.
        channels: their width; null: that of the features.
        activation: what follows each: ``relu``, ``gelu``, ``silu`` or a class, see :func:`make_activation`.
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
        if not 1 <= conv_depth <= MOST_CONVS:
            raise SegkitError(f"conv_depth must be 1 to {MOST_CONVS}, not {conv_depth}")
        if channels is not None and channels < 1:
            raise SegkitError(f"channels must be at least 1, not {channels}")
        width = widths.pop()
        channels = channels or width
        self.activation = make_activation(activation)
        inputs = [width] + [channels] * (conv_depth - 1)
        self.convs = nn.ModuleList(nn.Conv2d(c, channels, 3, padding=1) for c in inputs)
        self.objectness = nn.Conv2d(channels, num_anchors, 1)
        self.offsets = nn.Conv2d(channels, num_anchors * 4, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Scores and offsets a level: [B, H * W * A] logits and [B, H * W * A, 4], in the order of the anchors."""
        objectness, offsets = [], []
        for hidden in features:
            for conv in self.convs:
                hidden = self.activation(conv(hidden))
            batch = hidden.shape[0]
            objectness.append(self.objectness(hidden).permute(0, 2, 3, 1).reshape(batch, -1))
            offsets.append(self.offsets(hidden).permute(0, 2, 3, 1).reshape(batch, -1, 4))
        return objectness, offsets

    def at(self, features: Sequence[Tensor], images: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """What ``forward`` says of some anchors only: logits [S] and offsets [S, 4].

        The losses see a few hundred anchors of hundreds of thousands. Worked out from the windows that these anchors
        depend on, in place of the whole maps, they need next to no backward pass, and the maps' hidden values need not be kept.

        Args:
            features: as for ``forward``.
            images: [S] the image of each anchor.
            anchors: [S] its number in the order of ``forward``, all levels one after the other.
        """
        num_anchors = self.objectness.out_channels
        depth = len(self.convs)
        hidden, inside = pixel_windows(features, images, anchors // num_anchors, radius=depth)
        for number, conv in enumerate(self.convs, start=1):
            assert isinstance(conv, nn.Conv2d)
            hidden = self.activation(F.conv2d(hidden, conv.weight, conv.bias))
            if number < depth:  # what the next one pads with is zero, not what this one makes of its own padding
                hidden = hidden * inside[..., number:-number, number:-number].to(hidden.dtype)
        kinds = anchors % num_anchors
        objectness = self.objectness(hidden).flatten(1)  # [S, A]
        offsets = self.offsets(hidden).reshape(-1, num_anchors, 4)
        rows = torch.arange(len(anchors), device=anchors.device)
        return objectness[rows, kinds], offsets[rows, kinds]
