"""Makes a backbone of any torchvision classification network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from segkit.modeling.backbones.base import Backbone
from segkit.modeling.backbones.network_stages import split_into_stages, stem_convolution
from segkit.modeling.layers.norm import NormName, replace_batch_norms
from segkit.registry import BACKBONE_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean

PARTS = ("stem", "stage1", "stage2", "stage3", "stage4")


@BACKBONE_REGISTRY.register
class TorchvisionBackbone(Backbone):
    """A torchvision classification network, split where its stride changes.

    Its parts are called ``stem`` and ``stage1`` to ``stage4``, of strides 4, 8, 16 and 32; within them, parameters have
    torchvision's names. A SegkitError refuses networks without such maps or for one image size only (``vit_b_16``).

    Args:
        arch: torchvision's name of the network, such as ``mobilenet_v3_large`` or ``swin_t``.
        weights: torchvision's name of weights of the network, such as ``IMAGENET1K_V1`` or ``DEFAULT``; or a file or URL.
        norm: replaces the batch norms: ``bn``, ``frozen_bn``, ``sync_bn``, ``gn``; null: they stay as they are.
        trainable_stages: how many of the stem and the four stages train, counted from the output; null: all five.
        freeze: shell patterns of more parameter names to freeze, such as ``stage1.*``.
        drop_path: probability that the last block is dropped in training, less before, for networks with stochastic
            depth; null: torchvision's default.
        out_stages: the stages whose maps are published; null: all.
        in_channels: channels of the images. Weights for RGB are summed for one channel, else repeated and scaled.
        gradient_checkpointing: keep only each stage's input and run the stage again in the backward pass, which needs
            less memory and more time.
    """

    examples = ({"arch": "mobilenet_v3_small"},)

    def __init__(
        self,
        *,
        arch: str,
        weights: str | None = None,
        norm: NormName | None = None,
        trainable_stages: int | None = None,
        freeze: Sequence[str] = (),
        drop_path: float | None = None,
        out_stages: Sequence[str] | None = None,
        in_channels: int = 3,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        names = torchvision.models.list_models(module=torchvision.models)
        if arch not in names:
            raise SegkitError(
                f"torchvision has no classification network '{arch}'{did_you_mean(arch, names)}",
                key="arch", value=arch, choices=names,
            )  # fmt: skip
        network = torchvision.models.get_model(arch, weights=None, **arguments_of(arch, weights))
        if norm is not None:
            if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
                raise SegkitError(f"arch '{arch}' has no batch norms that norm '{norm}' could replace", key="norm")
            replace_batch_norms(network, norm)
        if drop_path is not None:
            set_drop_path(network, arch, drop_path)
        try:
            stages = split_into_stages(network)
            stem = f"stem.{stem_convolution(stages[0][0])}" if in_channels != 3 else ""
        except SegkitError as error:
            raise SegkitError(f"arch '{arch}' cannot be a backbone: {error}", key="arch", value=arch) from error
        for name, (stage, _) in zip(PARTS, stages, strict=True):
            self.add_module(name, stage)
        self._channels_last = {name for name, (_, cut) in zip(PARTS, stages, strict=True) if cut.channels_last}
        # From the classifier's parameter names to the names here, for loading weights.
        self._names = {key: f"{name}.{key}" for name in PARTS for key in self.get_submodule(name).state_dict()}
        self.complete(
            [[name] for name in PARTS],
            [cut.channels for _, cut in stages[1:]],
            out_stages=out_stages,
            trainable_stages=trainable_stages,
            freeze=freeze,
            weights=weights,
            weights_of=arch,
            head=("aux1.", "aux2.", *(key for key in network.state_dict() if key not in self._names)),
            stem=stem,
            in_channels=in_channels,
            gradient_checkpointing=gradient_checkpointing,
        )

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return super().convert_weights({self._names.get(key, key): value for key, value in state.items()})

    def publish(self, name: str, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2) if name in self._channels_last else x


def arguments_of(arch: str, weights: str | None) -> dict[str, Any]:
    """Arguments with which torchvision builds a network for its features alone."""
    if arch == "googlenet":
        # Without auxiliary classifiers. Its weights, unlike all others, are for pixels of mean and deviation 0.5.
        return {"aux_logits": False, "init_weights": True, "transform_input": weights is not None}
    return {}


def set_drop_path(network: nn.Module, arch: str, probability: float) -> None:
    """Scales the network's drop probabilities so that the largest is ``probability``."""
    if not 0 <= probability < 1:
        raise SegkitError(f"drop_path is {probability}; expected 0 to below 1", key="drop_path", value=probability)
    layers = [module for module in network.modules() if isinstance(module, StochasticDepth)]
    largest = max((layer.p for layer in layers), default=0.0)
    if largest == 0:
        raise SegkitError(f"drop_path: arch '{arch}' has no paths to drop", key="drop_path", value=probability)
    for layer in layers:
        layer.p *= probability / largest
