"""RoIAlign (Mask R-CNN, He et al. 2017, section 3) over the levels of a feature pyramid.

On CUDA, torchvision's kernel is used. On a CPU, that kernel's backward pass is single-threaded and it reads channels
first; there :mod:`segkit.modeling.layers.roi_gather` is used. So it is on CUDA if torch is set to be deterministic: the
kernel's backward pass adds in any order, and torchvision's deterministic version compiles for minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from segkit.modeling.layers.roi_gather import gathered_roi_align


def assign_levels(boxes: Tensor, strides: Sequence[int], canonical_size: float, canonical_stride: int) -> Tensor:
    """The pyramid level of each box by its size (FPN, Lin et al. 2017, eq. 1).

    Args:
        boxes: [N, 4].
        strides: of the levels, ascending powers of two.
        canonical_size: a square box of this side, in pixels, belongs to the level of ``canonical_stride``.
    Returns:
        [N] int64 indices into ``strides``.
    """
    sides = torch.sqrt(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=0))
    level = torch.floor(torch.log2(sides / canonical_size) + canonical_stride.bit_length() - 1 + 1e-6)
    lowest, highest = strides[0].bit_length() - 1, strides[-1].bit_length() - 1
    return level.clamp(lowest, highest).to(torch.int64) - lowest


def multilevel_roi_align(
    features: Sequence[Tensor],
    strides: Sequence[int],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    resolution: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Pools each box from its level.

    Args:
        features: a map [B, C, H, W] for each level.
        strides: image pixels per feature pixel, for each level.
        boxes: [N, 4] XYXY in image pixels.
        images: [N] index of the image of each box.
        levels: [N] index of the level of each box.
        resolution: side of the output, in bins.
        sampling_ratio: samples in each bin and direction; 0: as many as the bin has feature pixels.
        aligned: whether pixel centres lie at half integers, which is exact; else boxes are half a pixel off, as in the
            first implementations.
    Returns:
        [N, C, resolution, resolution] in the features' dtype.
    """
    gather = features[0].device.type == "cpu" or torch.are_deterministic_algorithms_enabled()
    if gather and features[0].dtype != torch.float64:
        return gathered_roi_align(features, strides, boxes, images, levels, resolution, sampling_ratio, aligned)
    rois = torch.cat([images[:, None].float(), boxes.float()], dim=1)
    order = levels.argsort(stable=True)
    groups = order.split(torch.bincount(levels, minlength=len(strides)).tolist())
    pooled = []
    for feature, stride, chosen in zip(features, strides, groups, strict=True):
        source = feature if feature.dtype == torch.float64 else feature.float()  # boxes stay in fp32
        pooled.append(
            roi_align(source, rois[chosen].to(source.dtype), resolution, 1.0 / stride, sampling_ratio, aligned)
        )
    return torch.cat(pooled)[order.argsort()].to(features[0].dtype)
