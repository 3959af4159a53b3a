"""Whether a model computes as the one that its weights come from: what tensors' names and shapes do not show."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from segkit.modeling.layers.roi_pooler import ROIPooler
from segkit.modeling.necks.fpn import FPN
from segkit.modeling.proposals.anchors import AnchorGenerator
from segkit.modeling.proposals.rpn import RPN
from segkit.modeling.roi_heads.box_head import FastRCNNHead
from segkit.modeling.weights.converted import Arithmetic, Converted
from segkit.modeling.weights.pixels import mean_of, same_mean
from segkit.modeling.weights.strides import stride_in_1x1

# The same in torchvision and Detectron2.
TOP_BLOCK = "maxpool"
CANONICAL_SIZE = 224.0
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def differences(model: nn.Module, weights: Converted) -> list[str]:
    """In words, where ``model`` computes otherwise than what ``weights`` were trained in."""
    found = []
    owner = weights.arithmetic.framework if weights.arithmetic else "the weights"
    for place, argument, here, there in _compared(model, weights):
        if not _equal(here, there):
            found.append(f"{place}: {argument} is {_yaml(here)} ({owner}: {_yaml(there)})")
    backbone = getattr(model, "backbone", model)
    if weights.folded_norms and any(
        isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)) for module in backbone.modules()
    ):
        found.append("backbone: norm is not frozen_bn (the file's norms are factors, without statistics)")
    return found


def _compared(model: nn.Module, weights: Converted) -> Iterator[tuple[str, str, object, object]]:
    """Place, argument, its value here and there."""
    mean = getattr(model, "pixel_mean", None)
    pixels = weights.pixels
    if pixels and mean is not None and len(mean) == len(pixels.mean) and not same_mean(pixels, mean):
        yield "model", "pixel_mean", _rounded(mean), _rounded(mean_of(pixels))
    place = stride_in_1x1(model)
    if weights.stride_in_1x1 is not None and place is not None:
        yield "backbone", "stride_in_1x1", place, weights.stride_in_1x1
    if weights.arithmetic is not None:
        for name, module in model.named_modules():
            for argument, here, there in _of_module(module, weights.arithmetic, weights.anchors):
                yield name.removesuffix(".pooler"), argument, here, there


def _of_module(
    module: nn.Module, wanted: Arithmetic, anchors: list[Tensor] | None
) -> Iterator[tuple[str, object, object]]:
    """Argument, its value here and there, of one part of a model."""
    if isinstance(module, ROIPooler):
        yield "aligned", module.aligned, wanted.aligned
        yield "sampling_ratio", module.sampling_ratio, wanted.sampling_ratio
        yield "canonical_size", module.canonical_size, CANONICAL_SIZE
    elif isinstance(module, FPN):
        yield "top_block", module.top_block, TOP_BLOCK
    elif isinstance(module, AnchorGenerator):
        yield "rounded", module.rounded, wanted.rounded
        yield "whole_strides", module.whole_strides, wanted.whole_strides
        yield "offset", module.offset, 0.0
        if anchors is not None:
            same = len(anchors) == len(module.base) and all(
                there.shape == here.shape and torch.allclose(there.float(), here, atol=1e-3)
                for there, here in zip(anchors, module.base, strict=True)
            )
            yield "sizes and aspect_ratios as in the file", same, True
        elif wanted.sizes_first:
            yield "several sizes a level", module.num_sizes > 1, False
    elif isinstance(module, RPN):
        yield "smooth_l1_beta", module.smooth_l1_beta, wanted.smooth_l1_beta
    elif isinstance(module, FastRCNNHead):
        yield "smooth_l1_beta", module.smooth_l1_beta, wanted.smooth_l1_beta
        yield "box_weights", tuple(module.box_weights), BOX_WEIGHTS


def _rounded(mean: Tensor) -> list[float]:
    return [round(value, 4) for value in mean.flatten().tolist()]


def _equal(here: object, there: object) -> bool:
    if isinstance(here, float) and isinstance(there, float):
        return math.isclose(here, there, abs_tol=1e-6)
    return here == there


def _yaml(value: object) -> str:
    """As a configuration would say it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(list(value)) if isinstance(value, tuple) else str(value)
