"""ResNet (He et al., 2015), ResNeXt and Wide ResNet from torchvision's layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.ops import StochasticDepth

from segkit.modeling.backbones.base import Backbone
from segkit.modeling.layers.norm import NormName, replace_batch_norms
from segkit.modeling.weights.torchvision_classification import is_path
from segkit.registry import BACKBONE_REGISTRY
from segkit.utils.errors import SegkitError

# Blocks of the four stages; groups of a bottleneck's 3x3 convolution; channels of each group at stride 4.
ARCHS: dict[int | str, tuple[tuple[int, int, int, int], int, int]] = {
    18: ((2, 2, 2, 2), 1, 64),
    34: ((3, 4, 6, 3), 1, 64),
    50: ((3, 4, 6, 3), 1, 64),
    101: ((3, 4, 23, 3), 1, 64),
    152: ((3, 8, 36, 3), 1, 64),
    "resnext50_32x4d": ((3, 4, 6, 3), 32, 4),
    "resnext101_32x8d": ((3, 4, 23, 3), 32, 8),
    "resnext101_64x4d": ((3, 4, 23, 3), 64, 4),
    "wide_resnet50_2": ((3, 4, 6, 3), 1, 128),
    "wide_resnet101_2": ((3, 4, 23, 3), 1, 128),
}


@BACKBONE_REGISTRY.register
class ResNet(Backbone):
    """ResNet, ResNeXt (Xie et al., 2016) and Wide ResNet (Zagoruyko and Komodakis, 2016).

    A bottleneck's stride is in its 3x3 convolution ("v1.5") or, as first published, in the 1x1 before it.

    Args:
        arch: number of layers, or torchvision's name of a ResNeXt or Wide ResNet.
        weights: ``IMAGENET1K_V1``, ``IMAGENET1K_V2`` (50 and deeper) or ``DEFAULT``, or a file or URL of the weights of a
            torchvision classifier or a Detectron2 ResNet (``R-50.pkl``).
        norm: ``bn``; ``frozen_bn``, statistics and affine parameters fixed at the weights' values, as usual in detection
            with few images on a device; ``sync_bn``, statistics over the images of all processes; ``gn``, group norm,
            which has no statistics.
        trainable_stages: how many of the stem and the four stages train, counted from the output; null: all five.
        freeze: shell patterns of more parameter names to freeze, such as ``layer1.*``.
        drop_path: probability that the last block is dropped in training (stochastic depth); linearly less before.
        out_stages: the stages whose maps are published; null: all.
        stride_in_1x1: put a bottleneck's stride into its first 1x1 convolution, as in the weights from Caffe that
            Detectron2 starts from (50 and deeper). Parameters have the same names and shapes either way, but weights fit
            one of the two only.
        in_channels: channels of the images. Weights for RGB are summed for one channel, else repeated and scaled.
        gradient_checkpointing: keep only each stage's input and run the stage again in the backward pass, which needs
            less memory and more time.
    """

    examples = ({"arch": 18},)

    def __init__(
        self,
        *,
        arch: Literal[
            18, 34, 50, 101, 152,
            "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2",
        ] = 50,
        weights: str | None = None,
        norm: NormName = "bn",
        trainable_stages: int | None = None,
        freeze: Sequence[str] = (),
        drop_path: float = 0.0,
        out_stages: Sequence[str] | None = None,
        stride_in_1x1: bool = False,
        in_channels: int = 3,
        gradient_checkpointing: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if arch not in ARCHS:
            raise SegkitError(f"there is no arch {arch}; valid: {', '.join(map(str, ARCHS))}", key="arch", value=arch)
        if not 0 <= drop_path < 1:
            raise SegkitError(f"drop_path is {drop_path}; expected 0 to below 1", key="drop_path", value=drop_path)
        depths, groups, width = ARCHS[arch]
        block = BasicBlock if arch in (18, 34) else Bottleneck
        if stride_in_1x1 and block is BasicBlock:
            raise SegkitError(
                f"stride_in_1x1 is for the bottlenecks of 50 and more layers; arch {arch} has none", key="stride_in_1x1"
            )
        if stride_in_1x1 and weights is not None and not is_path(weights):
            raise SegkitError(
                f"weights '{weights}' are torchvision's, which have the stride in the 3x3 convolution: set stride_in_1x1 to "
                "false, or give the path of a file",
                key="weights", value=weights,
            )  # fmt: skip
        net = resnet.ResNet(block, list(depths), num_classes=1, groups=groups, width_per_group=width)
        if stride_in_1x1:
            move_strides(net)
        replace_batch_norms(net, norm)
        set_drop_path(net, drop_path)
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(name, net.get_submodule(name))
        self.complete(
            [["conv1", "bn1", "relu", "maxpool"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]],
            [planes * block.expansion for planes in (64, 128, 256, 512)],
            out_stages=out_stages,
            trainable_stages=trainable_stages,
            freeze=freeze,
            weights=weights,
            weights_of=arch if isinstance(arch, str) else f"resnet{arch}",
            head=("fc.",),
            stem="conv1",
            in_channels=in_channels,
            gradient_checkpointing=gradient_checkpointing,
        )


class BasicBlock(resnet.BasicBlock):
    """torchvision's block of two 3x3 convolutions, with stochastic depth of the branch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drop_path: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.drop_path(self.bn2(self.conv2(out)))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class Bottleneck(resnet.Bottleneck):
    """torchvision's block of 1x1, 3x3 and 1x1 convolutions, with stochastic depth of the branch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drop_path: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.drop_path(self.bn3(self.conv3(out)))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


def move_strides(net: nn.Module) -> None:
    """Moves the stride of every bottleneck in ``net`` from its second convolution to its first."""
    for module in net.modules():
        if isinstance(module, resnet.Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride


def set_drop_path(net: nn.Module, probability: float) -> None:
    """Sets stochastic depth: ``probability`` at the last block, linearly less before it."""
    blocks = [module for module in net.modules() if isinstance(module, (BasicBlock, Bottleneck))]
    if probability > 0:
        for i, block in enumerate(blocks):
            block.drop_path = StochasticDepth(probability * (i + 1) / len(blocks), "row")
