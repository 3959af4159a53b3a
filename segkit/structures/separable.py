"""Resampling stacks of small images by one matrix for the rows and one for the columns.

Bilinear sampling, area-weighted (antialiased) resizing and RoIAlign are all of the form A @ image @ B.T with hat-shaped
weights, so one batched product does them, and the weights beyond a crop are simply absent. Always at full precision:
fp32 on the CPU; fp64 on CUDA, where fp32 products may be rounded to TF32 by a global setting, and where these products
are small.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def work_dtype(device: torch.device) -> torch.dtype:
    """fp64 on CUDA, else fp32; see the module."""
    return torch.float64 if device.type == "cuda" else torch.float32


def hat(distances: Tensor) -> Tensor:
    """max(0, 1 - abs(distances)), in place."""
    return distances.abs_().neg_().add_(1).clamp_(min=0)


def resample(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    """rows [n, O, H] times images [n, H, W] times columns [n, P, W] transposed: [n, O, P]."""
    dtype = work_dtype(images.device)
    with torch.autocast(images.device.type, enabled=False):
        return torch.bmm(torch.bmm(rows.to(dtype), images.to(dtype)), columns.to(dtype).transpose(1, 2))


def sum_taps(images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """As ``resample`` where few weights are not 0: [n, O, P], a transposed view, from uint8 images [n, H, W] on the CPU.

    Args:
        images: uint8 [n, H, W].
        rows: of each new row the numbers of the old ones, and their weights: [n, O, taps] each. Numbers outside the
            image have weight 0.
        columns: likewise, [n, P, taps].
    """
    return _sum_rows(_sum_rows(images.float(), *rows).transpose(1, 2), *columns).transpose(1, 2)


def _sum_rows(images: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of rows of fp32 images [n, H, W]: [n, O, W], with ``index`` and ``weights`` [n, O, taps]."""
    count, height, width = images.shape
    lines = index.clamp(0, height - 1) + torch.arange(count)[:, None, None] * height
    # One fused pass over what is there: a third of the time of products with matrices that are mostly 0.
    table = images.reshape(-1, width)
    sums = F.embedding_bag(lines.flatten(0, 1), table, mode="sum", per_sample_weights=weights.flatten(0, 1))
    return sums.view(count, -1, width)


def gather_windows(bits: Tensor, starts: Tensor, strides: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    """Windows of crops as a stack, uint8 [n, largest height, largest width], on the bits' device.

    What lies beyond a window's own height and width is 0 on the CPU, elsewhere arbitrary: the caller's weights are 0.

    Args:
        bits: uint8 [P], not empty.
        starts: int64 [n]: where the window's first pixel lies in ``bits``.
        strides: int64 [n], the width of the crop that it is part of.
        heights: int64 [n] on the CPU, of the windows.
        widths: int64 [n] on the CPU.
    """
    shape = len(starts), int(heights.max()), int(widths.max())
    if bits.device.type != "cpu":
        return indexed_windows(bits, starts, strides, *shape[1:])
    # A strided copy a window takes a quarter of the time of an index a pixel.
    stack = np.zeros(shape, np.uint8)
    flat = bits.numpy()
    sizes = zip(starts.tolist(), strides.tolist(), heights.tolist(), widths.tolist(), strict=True)
    for image, (start, stride, h, w) in zip(stack, sizes, strict=True):
        if h and w:
            image[:h, :w] = np.ndarray((h, w), np.uint8, flat, start, (stride, 1))
    return torch.from_numpy(stack)


def indexed_windows(bits: Tensor, starts: Tensor, strides: Tensor, height: int, width: int) -> Tensor:
    """``gather_windows`` in a few large operations, for devices where each operation takes its time."""
    device = bits.device
    starts, strides = starts.to(device), strides.to(device)
    lines = starts[:, None] + torch.arange(height, device=device) * strides[:, None]  # [n, height]
    index = lines[:, :, None] + torch.arange(width, device=device)  # [n, height, width]
    return bits.take(index.clamp_(max=bits.numel() - 1))


def size_buckets(heights: Tensor, widths: Tensor, budget: int) -> Iterator[Tensor]:
    """Groups of items of similar size: index tensors, together 0..n-1 without the items of no area.

    Args:
        heights: int64 [n], on the CPU.
        widths: int64 [n].
        budget: most pixels of a group padded to its largest height and width; a larger item goes alone.
    """
    sides = torch.maximum(heights, widths)
    order = sides.argsort(stable=True)
    order = order[torch.minimum(heights, widths)[order] > 0]
    numbers, sizes = order.tolist(), sides[order].tolist()
    start = 0
    for i, side in enumerate(sizes):
        # A third more in each direction at most, but tiny ones may go together.
        if i > start and (side > 8 + sizes[start] * 4 // 3 or (i + 1 - start) * side * side > budget):
            yield torch.tensor(numbers[start:i])
            start = i
    if len(numbers) > start:
        yield torch.tensor(numbers[start:])
