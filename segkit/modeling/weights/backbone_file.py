"""Reads a backbone's weights from a file of a torchvision classifier or a Detectron2 ResNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit.modeling.layers.preprocessing import IMAGENET_STD
from segkit.modeling.weights import detectron2
from segkit.modeling.weights.pixels import fold_pixels
from segkit.modeling.weights.reading import named_tensors, read_file
from segkit.modeling.weights.strides import check_stride
from segkit.utils.errors import SegkitError


def read_backbone(backbone: nn.Module, path: str) -> dict[str, Tensor]:
    """The named tensors in a file, converted to RGB images with ImageNet's mean and deviation.

    Raises:
        SegkitError: the file cannot be read, or its weights need other settings than the backbone's.
    """
    content = read_file(path)
    state = named_tensors(content, path)
    if not detectron2.recognised_backbone(state):
        if "fc.weight" in state and "layer1.0.conv1.weight" in state:  # a torchvision ResNet
            check_stride(backbone, False, path)
        return state
    own = {f"backbone.{name}" for name in backbone.state_dict()}
    converted = detectron2.convert_backbone(state, own, str(content.get("__author__", "")))
    if converted.stride_in_1x1 is not None:
        check_stride(backbone, converted.stride_in_1x1, path)
    if converted.folded_norms and any(
        isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)) for module in backbone.modules()
    ):
        raise SegkitError(
            f"weights '{path}' have batch norms without statistics, which need norm: frozen_bn",
            key="norm", value=path,
        )  # fmt: skip
    assert converted.pixels is not None
    stem = "backbone.conv1.weight"
    converted.state[stem] = fold_pixels(converted.state[stem], converted.pixels, torch.tensor(IMAGENET_STD))
    return {name.removeprefix("backbone."): tensor for name, tensor in converted.state.items()}
