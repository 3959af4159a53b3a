"""TinyNet: a small residual network for quick runs on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segkit.modeling.backbones.base import Backbone
from segkit.modeling.layers.activation import ActivationName, make_activation
from segkit.modeling.layers.norm import NormName, make_norm
from segkit.registry import BACKBONE_REGISTRY
from segkit.utils.errors import SegkitError

MAX_BLOCKS = 1000  # of a stage; a mistyped number must not fill the memory with layers


@BACKBONE_REGISTRY.register
class TinyNet(Backbone):
    """Residual blocks of two 3x3 convolutions that train from scratch within minutes.

    Args:
        width: channels of ``stage1``; the following stages have 2, 4 and 6 times as many. A multiple of 8 is fastest.
        depths: residual blocks of the four stages.
        norm: of each convolution: ``bn``, ``frozen_bn``, ``sync_bn``, ``gn`` or a class, see :func:`make_norm`.
        activation: ``relu``, ``gelu``, ``silu`` or a class, see :func:`make_activation`.
        trainable_stages: how many of the stem and the four stages train, counted from the output; null: all five.
        freeze: shell patterns of more parameter names to freeze.
        out_stages: the stages whose maps are published; null: all.
        in_channels: channels of the images.
        gradient_checkpointing: keep only each stage's input and run the stage again in the backward pass, which needs
            less memory and more time.
    """

    examples = ({"width": 8},)

    def __init__(
        self,
        *,
        width: int = 32,
        depths: Sequence[int] = (1, 1, 1, 1),
        norm: NormName = "bn",
        activation: ActivationName = "relu",
        trainable_stages: int | None = None,
        freeze: Sequence[str] = (),
        out_stages: Sequence[str] | None = None,
        in_channels: int = 3,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if width < 2:
            raise SegkitError(f"width is {width}; expected at least 2", key="width", value=width)
        if len(depths) != 4 or min(depths) < 1 or max(depths) > MAX_BLOCKS:
            raise SegkitError(
                f"depths is {list(depths)}; expected four numbers from 1 to {MAX_BLOCKS}", key="depths", value=depths
            )
        channels = [width, 2 * width, 4 * width, 6 * width]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False),
            make_norm(norm, width // 2),
            make_activation(activation, inplace=True),
        )
        before = [width // 2, *channels]
        for i, depth in enumerate(depths):
            blocks = [ResidualBlock(before[i], channels[i], 2, norm, activation)]
            blocks += [ResidualBlock(channels[i], channels[i], 1, norm, activation) for _ in range(depth - 1)]
            self.add_module(f"stage{i + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.complete(
            [["stem"], ["stage1"], ["stage2"], ["stage3"], ["stage4"]],
            channels,
            out_stages=out_stages,
            trainable_stages=trainable_stages,
            freeze=freeze,
            stem="stem.0",
            in_channels=in_channels,
            gradient_checkpointing=gradient_checkpointing,
        )


class ResidualBlock(nn.Module):
    """``relu(x + conv(relu(conv(x))))``, with a norm after each convolution and any activation.

    If the shape changes, the shortcut is a mean of 2x2 pixels and a 1x1 convolution (ResNet-D: He et al., "Bag of
    tricks", 2018).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the shortcut.
        norm: what :func:`make_norm` takes.
        activation: what :func:`make_activation` takes.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, norm: NormName, activation: ActivationName = "relu"
    ) -> None:
        super().__init__()
        self.activation = make_activation(activation, inplace=True)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = make_norm(norm, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = make_norm(norm, out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            # Not a 1x1 convolution of stride 2: it drops three of four pixels, and its backward pass in oneDNN (torch 2.14,
            # channels last, fewer than 16 input channels) writes out of bounds.
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                make_norm(norm, out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.activation(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out)) + self.shortcut(x)
        return self.activation(out)
