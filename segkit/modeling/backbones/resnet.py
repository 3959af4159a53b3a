"""ResNet (He et al., 2015) from torchvision, with its parameter names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn
from torchvision.models import resnet

from segkit.modeling.backbones.base import Backbone
from segkit.modeling.layers.norm import NORMS, replace_batch_norms
from segkit.registry import BACKBONE_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@BACKBONE_REGISTRY.register
class ResNet(Backbone):
    """ResNet, the stride of a bottleneck in its 3x3 convolution ("v1.5") or, as first published, in the 1x1 before it.

    Args:
        arch: number of layers.
        weights: ``IMAGENET1K_V1``, ``IMAGENET1K_V2`` (50 and deeper) or ``DEFAULT``, or a file or URL of a torchvision
            classifier's weights.
        norm: ``bn``; ``frozen_bn``, statistics and factors fixed at the weights' values, as is usual in detection with few
            images a device; ``gn``, group norm, which does without statistics.
        trainable_stages: how many of the stem and the four stages train, counted from the output; None: all five.
        freeze: shell patterns of parameter names to freeze besides, as ``layer1.*``.
        out_stages: the stages to publish; None: all.
        stride_in_1x1: a bottleneck's stride in its first 1x1 convolution, as in the weights made with Caffe that Detectron2
            starts from (50 and deeper). Parameters have the same names and shapes, but fit one of the two only.
    """

    def __init__(
        self,
        *,
        arch: Literal[18, 34, 50, 101, 152] = 50,
        weights: str | None = None,
        norm: Literal["bn", "frozen_bn", "gn"] = "bn",
        trainable_stages: int | None = None,
        freeze: Sequence[str] = (),
        out_stages: Sequence[str] | None = None,
        stride_in_1x1: bool = False,
    ) -> None:
        super().__init__()
        if arch not in DEPTHS:
            raise SegkitError(f"there is no arch {arch}; valid: {', '.join(map(str, DEPTHS))}", key="arch", value=arch)
        if norm not in NORMS:
            raise SegkitError(
                f"there is no norm '{norm}'{did_you_mean(norm, NORMS)}", key="norm", value=norm, choices=NORMS
            )
        if stride_in_1x1 and arch < 50:
            raise SegkitError(
                f"stride_in_1x1 is for the bottlenecks of 50 and more layers; arch {arch} has none", key="stride_in_1x1"
            )
        block = resnet.BasicBlock if arch < 50 else resnet.Bottleneck
        net = resnet.ResNet(block, list(DEPTHS[arch]), num_classes=1)
        if stride_in_1x1:
            move_strides(net)
        replace_batch_norms(net, norm)
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(name, net.get_submodule(name))
        self.complete(
            [["conv1", "bn1", "relu", "maxpool"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]],
            [planes * block.expansion for planes in (64, 128, 256, 512)],
            out_stages=out_stages,
            trainable_stages=trainable_stages,
            freeze=freeze,
            weights=weights,
            weights_of=f"resnet{arch}",
            head=("fc.",),
        )


def move_strides(net: nn.Module) -> None:
    """In every bottleneck of ``net``, let the first convolution take the strides of the second."""
    for module in net.modules():
        if isinstance(module, resnet.Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride
