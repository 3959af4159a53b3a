"""Compares a model's settings (RoIAlign, anchors, losses) with those of its weights."""

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

# Equal in torchvision and Detectron2.
TOP_BLOCK = "maxpool"
CANONICAL_SIZE = 224.0
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def differences(model: nn.Module, weights: Converted) -> list[str]:
    """Descriptions of the settings of ``model`` that differ from those of ``weights``."""
    found = []
    owner = weights.arithmetic.framework if weights.arithmetic else "the weights"
    for component, argument, here, there in _compared(model, weights):
        if not _equal(here, there):
            found.append(f"{component}: {argument} is {_yaml(here)} ({owner}: {_yaml(there)})")
    backbone = getattr(model, "backbone", model)
    if weights.folded_norms and any(
        isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)) for module in backbone.modules()
    ):
        found.append("backbone: norm is not frozen_bn (the file's batch norms are affine factors without statistics)")
    return found


def _compared(model: nn.Module, weights: Converted) -> Iterator[tuple[str, str, object, object]]:
    """Component, argument, and its value in the model and in the weights' framework."""
    mean = getattr(model, "pixel_mean", None)
    pixels = weights.pixels
    if pixels and mean is not None and len(mean) == len(pixels.mean) and not same_mean(pixels, mean):
        yield "model", "pixel_mean", _rounded(mean), _rounded(mean_of(pixels))
    in_1x1 = stride_in_1x1(model)
    if weights.stride_in_1x1 is not None and in_1x1 is not None:
        yield "backbone", "stride_in_1x1", in_1x1, weights.stride_in_1x1
    if weights.arithmetic is not None:
        for name, module in model.named_modules():
            for argument, here, there in _of_module(module, weights.arithmetic, weights.anchors):
                yield name.removesuffix(".pooler"), argument, here, there


def _of_module(
    module: nn.Module, expected: Arithmetic, anchors: list[Tensor] | None
) -> Iterator[tuple[str, object, object]]:
    """Argument, and its value in the model and in the weights' framework, of one module."""
    if isinstance(module, ROIPooler):
        yield "aligned", module.aligned, expected.aligned
        yield "sampling_ratio", module.sampling_ratio, expected.sampling_ratio
        yield "canonical_size", module.canonical_size, CANONICAL_SIZE
    elif isinstance(module, FPN):
        yield "top_block", module.top_block, TOP_BLOCK
    elif isinstance(module, AnchorGenerator):
        yield "rounded", module.rounded, expected.rounded
        yield "whole_strides", module.whole_strides, expected.whole_strides
        yield "offset", module.offset, 0.0
        if anchors is not None:
            same = len(anchors) == len(module.base) and all(
                there.shape == here.shape and torch.allclose(there.float(), here, atol=1e-3)
                for there, here in zip(anchors, module.base, strict=True)
            )
            yield "sizes and aspect_ratios as in the file", same, True
        elif expected.sizes_first:
            yield "several sizes for a level", module.num_sizes > 1, False
    elif isinstance(module, RPN):
        yield "smooth_l1_beta", module.smooth_l1_beta, expected.smooth_l1_beta
    elif isinstance(module, FastRCNNHead):
        yield "smooth_l1_beta", module.smooth_l1_beta, expected.smooth_l1_beta
        yield "box_weights", tuple(module.box_weights), BOX_WEIGHTS


def _rounded(mean: Tensor) -> list[float]:
    return [round(value, 4) for value in mean.flatten().tolist()]


def _equal(here: object, there: object) -> bool:
    if isinstance(here, float) and isinstance(there, float):
        return math.isclose(here, there, abs_tol=1e-6)
    return here == there


def _yaml(value: object) -> str:
    """A value as it is written in a configuration."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(list(value)) if isinstance(value, tuple) else str(value)
