"""EfficientNetV2 (Tan and Le, 2021) from torchvision, with its parameter names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torchvision.models import efficientnet

from segkit.modeling.backbones.base import Backbone
from segkit.modeling.layers.norm import NormName, replace_batch_norms
from segkit.registry import BACKBONE_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean

# Channels at strides 4, 8, 16, 32, and which of torchvision's `features` make them, after the stem (0 and 1).
ARCHS: dict[str, tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]] = {
    "s": ((48, 64, 160, 256), ((2,), (3,), (4, 5), (6,))),
    "m": ((48, 80, 176, 512), ((2,), (3,), (4, 5), (6, 7))),
    "l": ((64, 96, 224, 640), ((2,), (3,), (4, 5), (6, 7))),
}
BUILDERS = {
    "s": efficientnet.efficientnet_v2_s,
    "m": efficientnet.efficientnet_v2_m,
    "l": efficientnet.efficientnet_v2_l,
}


@BACKBONE_REGISTRY.register
class EfficientNetV2(Backbone):
    """EfficientNetV2 without the classifier's last 1x1 convolution.

    Args:
        arch: size.
        weights: ``IMAGENET1K_V1`` or ``DEFAULT``, or a file or URL of a torchvision classifier's weights.
        norm: ``bn``, ``frozen_bn`` (statistics and affine parameters fixed at the weights' values), ``sync_bn`` (statistics
            over all processes) or ``gn``.
        trainable_stages: how many of the stem and the four stages train, counted from the output; null: all five.
        freeze: shell patterns of more parameter names to freeze, such as ``features.0.*``.
        drop_path: probability that the last block is dropped in training (stochastic depth); linearly less before.
        out_stages: the stages whose maps are published; null: all.
        in_channels: channels of the images. Weights for RGB are summed for one channel, else repeated and scaled.
        gradient_checkpointing: keep only each stage's input and run the stage again in the backward pass, which needs
            less memory and more time.
    """

    def __init__(
        self,
        *,
        arch: Literal["s", "m", "l"] = "s",
        weights: str | None = None,
        norm: NormName = "bn",
        trainable_stages: int | None = None,
        freeze: Sequence[str] = (),
        drop_path: float = 0.2,
        out_stages: Sequence[str] | None = None,
        in_channels: int = 3,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if arch not in ARCHS:
            raise SegkitError(
                f"there is no arch '{arch}'{did_you_mean(arch, ARCHS)}", key="arch", value=arch, choices=ARCHS
            )
        if not 0 <= drop_path < 1:
            raise SegkitError(f"drop_path is {drop_path}; expected 0 to below 1", key="drop_path", value=drop_path)
        channels, stages = ARCHS[arch]
        net = BUILDERS[arch](weights=None, num_classes=1, stochastic_depth_prob=drop_path)
        last = len(net.features) - 1
        self.features = net.features[:last]
        replace_batch_norms(self.features, norm)
        self.complete(
            [["features.0", "features.1"], *([f"features.{i}" for i in stage] for stage in stages)],
            channels,
            out_stages=out_stages,
            trainable_stages=trainable_stages,
            freeze=freeze,
            weights=weights,
            weights_of=f"efficientnet_v2_{arch}",
            head=("classifier.", f"features.{last}."),
            stem="features.0.0",
            in_channels=in_channels,
            gradient_checkpointing=gradient_checkpointing,
        )
