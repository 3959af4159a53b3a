"""A small residual network for quick runs on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segkit.modeling.backbones.base import Backbone
from segkit.modeling.layers.activation import ActivationName, make_activation
from segkit.modeling.layers.norm import NormName, make_norm
from segkit.registry import BACKBONE_REGISTRY
from segkit.utils.errors import SegkitError

MOST_BLOCKS = 1000  # of a stage: a mistyped number is not to fill the memory with layers


@BACKBONE_REGISTRY.register
class TinyNet(Backbone):
    """Residual blocks of two 3x3 convolutions, made to be trained from random values within minutes.

    Args:
        width: channels of ``stage1``; the following stages have 2, 4 and 6 times as many. A multiple of 8 is fastest.
        depths: residual blocks of the four stages.
        norm: what follows each convolution: ``bn``, ``frozen_bn``, ``sync_bn``, ``gn`` or a class, see :func:`make_norm`.
        activation: ``relu``, ``gelu``, ``silu`` or a class, see :func:`make_activation`.
        trainable_stages: how many of the stem and the four stages train, counted from the output; None: all five.
        freeze: shell patterns of parameter names to freeze besides.
        out_stages: the stages to publish; None: all.
        in_channels: channels of the images.
        gradient_checkpointing: keep each stage's input only, and run it again in backward: less memory, more time.
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
            raise SegkitError(f"width is {width}; it is 2 or more", key="width", value=width)
        if len(depths) != 4 or min(depths) < 1 or max(depths) > MOST_BLOCKS:
            raise SegkitError(
                f"depths is {list(depths)}; it is four numbers from 1 to {MOST_BLOCKS}", key="depths", value=depths
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
    """``relu(x + conv(relu(conv(x))))``, with any activation. Each convolution is followed by its norm. Where the shape
    changes, the shortcut is a mean of 2x2 pixels and a 1x1 convolution (He et al., "Bag of tricks", 2018, ResNet-D).

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
            # Not a 1x1 convolution of stride 2, which throws three pixels of four away, and whose backward in oneDNN
            # (torch 2.14, channels last, fewer than 16 channels in) writes past its memory.
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                make_norm(norm, out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.activation(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out)) + self.shortcut(x)
        return self.activation(out)
