"""ConvNeXt (Liu et al., 2022) from torchvision's layers, with its parameter names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torchvision.models import convnext

from segkit.modeling.backbones.base import Backbone
from segkit.registry import BACKBONE_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean

# Channels and blocks of the four stages. Atto to nano are the sizes of ConvNeXt V2 (Woo et al., 2023, appendix A).
ARCHS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "atto": ((40, 80, 160, 320), (2, 2, 6, 2)),
    "femto": ((48, 96, 192, 384), (2, 2, 6, 2)),
    "pico": ((64, 128, 256, 512), (2, 2, 6, 2)),
    "nano": ((80, 160, 320, 640), (2, 2, 8, 2)),
    "tiny": ((96, 192, 384, 768), (3, 3, 9, 3)),
    "small": ((96, 192, 384, 768), (3, 3, 27, 3)),
    "base": ((128, 256, 512, 1024), (3, 3, 27, 3)),
    "large": ((192, 384, 768, 1536), (3, 3, 27, 3)),
}
TORCHVISION_ARCHS = ("tiny", "small", "base", "large")


@BACKBONE_REGISTRY.register
class ConvNeXt(Backbone):
    """ConvNeXt.

    Args:
        arch: size.
        weights: ``IMAGENET1K_V1`` or ``DEFAULT`` (tiny to large), or a file or URL of a torchvision classifier's weights.
        trainable_stages: how many of the stem and the four stages train, counted from the output; null: all five.
        freeze: shell patterns of more parameter names to freeze, such as ``features.0.*``: ``features`` 0 is the stem,
            1, 3, 5, 7 the stages, 2, 4, 6 the downsampling layers before them.
        drop_path: probability that the last block is dropped in training (stochastic depth); linearly less before.
        layer_scale: initial value of each block's scale. The paper's 1e-6 suits long schedules; for short ones without
            pretrained weights, 0.1 to 1 is better.
        output_norm: a LayerNorm on each published map, as in the paper's detection recipe.
        out_stages: the stages whose maps are published; null: all.
        in_channels: channels of the images. Weights for RGB are summed for one channel, else repeated and scaled.
        gradient_checkpointing: keep only each stage's input and run the stage again in the backward pass, which needs
            less memory and more time.
    """

    examples = ({"arch": "atto"},)

    def __init__(
        self,
        *,
        arch: Literal["atto", "femto", "pico", "nano", "tiny", "small", "base", "large"] = "tiny",
        weights: str | None = None,
        trainable_stages: int | None = None,
        freeze: Sequence[str] = (),
        drop_path: float = 0.0,
        layer_scale: float = 1e-6,
        output_norm: bool = True,
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
        widths, depths = ARCHS[arch]
        setting = [
            convnext.CNBlockConfig(width, following, depth)
            for width, following, depth in zip(widths, [*widths[1:], None], depths, strict=True)
        ]
        self.features = convnext.ConvNeXt(setting, drop_path, layer_scale, num_classes=1).features
        self.output_norms = nn.ModuleDict()
        self.complete(
            [["features.0"], ["features.1"], *([f"features.{i}", f"features.{i + 1}"] for i in (2, 4, 6))],
            widths,
            out_stages=out_stages,
            trainable_stages=trainable_stages,
            freeze=freeze,
            weights=weights,
            weights_of=f"convnext_{arch}" if arch in TORCHVISION_ARCHS else None,
            head=("classifier.",),
            stem="features.0.0",
            in_channels=in_channels,
            gradient_checkpointing=gradient_checkpointing,
        )
        if output_norm:  # after freezing: these have no pretrained weights and always train
            norm = partial(convnext.LayerNorm2d, eps=1e-6)
            self.output_norms.update({name: norm(spec.channels) for name, spec in self.out_features.items()})

    def publish(self, name: str, x: Tensor) -> Tensor:
        return self.output_norms[name](x) if name in self.output_norms else x
