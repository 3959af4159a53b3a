"""RoIAlign (Mask R-CNN, He et al. 2017, section 3) over the levels of a feature pyramid.

On CUDA, torchvision's kernel is used. On a CPU, that kernel's backward pass is single-threaded and it reads channels
first; there the same sums are one ``embedding_bag`` over the pixels of all levels, as rows of channels: forward 3 to 6
times and backward 8 to 11 times faster. The same is used on CUDA if torch is set to be deterministic: the kernel's
backward pass adds in any order, and torchvision's deterministic version compiles for minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

# Taps (weights and indices) computed at a time: 32 MB of indices.
MAX_TAPS = 4_000_000


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
    on_cpu = features[0].device.type == "cpu"
    gather = (on_cpu or torch.are_deterministic_algorithms_enabled()) and sampling_ratio > 0
    if gather and features[0].dtype != torch.float64:
        return _gathered(features, strides, boxes, images, levels, resolution, sampling_ratio, aligned)
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


def _gathered(
    features: Sequence[Tensor],
    strides: Sequence[int],
    boxes: Tensor,
    images: Tensor,
    levels: Tensor,
    resolution: int,
    ratio: int,
    aligned: bool,
) -> Tensor:
    """RoIAlign as weighted sums of table rows; a row is one pixel of one map."""
    channels, device = features[0].shape[1], features[0].device
    table = torch.cat([f.permute(0, 2, 3, 1).reshape(-1, channels) for f in features]).float()
    first_rows = [0]
    for feature in features[:-1]:
        first_rows.append(first_rows[-1] + feature.shape[0] * feature.shape[2] * feature.shape[3])
    heights = torch.tensor([f.shape[2] for f in features], device=device)[levels]
    widths = torch.tensor([f.shape[3] for f in features], device=device)[levels]
    base = torch.tensor(first_rows, device=device)[levels] + images * heights * widths
    scaled = boxes.float() / torch.tensor(strides, dtype=torch.float32, device=device)[levels, None]
    taps_per_box = (resolution * ratio * 2) ** 2
    pooled = []
    chunk_size = max(1, MAX_TAPS // taps_per_box)
    for first in range(
        0, max(1, len(boxes)), chunk_size
    ):  # runs once without boxes too: an empty result with a gradient
        chunk = slice(first, first + chunk_size)
        y_taps, y_weights = _taps(scaled[chunk, 1], scaled[chunk, 3], heights[chunk], resolution, ratio, aligned)
        x_taps, x_weights = _taps(scaled[chunk, 0], scaled[chunk, 2], widths[chunk], resolution, ratio, aligned)
        # [n, bins_y, taps_y] x [n, bins_x, taps_x] -> [n, bins_y, bins_x, taps_y, taps_x]
        rows = y_taps * widths[chunk, None, None] + base[chunk, None, None]
        indices = rows[:, :, None, :, None] + x_taps[:, None, :, None, :]
        weights = y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :]
        bag = (2 * ratio) ** 2
        pooled.append(
            F.embedding_bag(
                indices.reshape(-1, bag), table, mode="sum", per_sample_weights=weights.reshape(-1, bag)
            ).reshape(-1, resolution, resolution, channels)
        )
    return torch.cat(pooled).permute(0, 3, 1, 2).to(features[0].dtype)


def _taps(
    start: Tensor, end: Tensor, limit: Tensor, resolution: int, ratio: int, aligned: bool
) -> tuple[Tensor, Tensor]:
    """Feature pixels that each bin reads in one direction, and their weights.

    As in torchvision, samples more than a pixel outside the map have weight 0, and nearer ones are moved to its border.

    Returns:
        [N, resolution, 2 * ratio] int64 positions and fp32 weights.
    """
    offset = 0.5 if aligned else 0.0
    length = end - start
    if not aligned:
        length = length.clamp(min=1.0)
    steps = (torch.arange(resolution * ratio, dtype=torch.float32, device=start.device) + 0.5) / ratio
    position = (start - offset)[:, None] + steps * (length / resolution)[:, None]  # [N, resolution * ratio]
    limit = limit[:, None]
    inside = (position >= -1.0) & (position <= limit)
    position = position.clamp(min=0)
    low = torch.minimum(position.to(torch.int64), limit - 1)
    high = torch.minimum(low + 1, limit - 1)
    fraction = torch.where(low >= limit - 1, torch.zeros_like(position), position - low)
    scale = inside.float() / ratio
    taps = torch.stack([low, high], dim=-1)
    weights = torch.stack([(1 - fraction) * scale, fraction * scale], dim=-1)
    shape = (len(start), resolution, 2 * ratio)
    return taps.reshape(shape), weights.reshape(shape)
