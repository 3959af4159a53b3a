"""Separable resampling of stacks of small images, by a matrix for rows and one for columns.

Bilinear sampling, antialiased resizing and RoIAlign all have the form A @ image @ B.T with hat-shaped weights, so that
one batched product computes them, without weights for pixels outside a crop. The precision is fp32 on the CPU and fp64
on CUDA, where a global setting may round fp32 products to TF32 and these products are small.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def work_dtype(device: torch.device) -> torch.dtype:
    """Dtype of the products: fp64 on CUDA, else fp32; see the module's docstring."""
    return torch.float64 if device.type == "cuda" else torch.float32


def hat(distances: Tensor) -> Tensor:
    """max(0, 1 - abs(distances)), in place."""
    return distances.abs_().neg_().add_(1).clamp_(min=0)


def resample(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    """Product [n, O, P] of rows [n, O, H], images [n, H, W] and columns [n, P, W] transposed."""
    dtype = work_dtype(images.device)
    with torch.autocast(images.device.type, enabled=False):
        return torch.bmm(torch.bmm(rows.to(dtype), images.to(dtype)), columns.to(dtype).transpose(1, 2))


def sum_taps(images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """As ``resample`` with sparse weights, on the CPU: [n, O, P], a transposed view.

    Args:
        images: uint8 [n, H, W].
        rows: for each new row the indices of old rows and their weights, [n, O, taps] each. Indices outside the image
            have weight 0.
        columns: likewise for the columns, [n, P, taps].
    """
    return _sum_rows(_sum_rows(images.float(), *rows).transpose(1, 2), *columns).transpose(1, 2)


def _sum_rows(images: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums [n, O, W] of rows of images [n, H, W]; ``index``, ``weights`` [n, O, taps]."""
    count, height, width = images.shape
    lines = index.clamp(0, height - 1) + torch.arange(count)[:, None, None] * height
    # One fused pass over the nonzero weights takes a third of the time of products with mostly zero matrices.
    table = images.reshape(-1, width)
    sums = F.embedding_bag(lines.flatten(0, 1), table, mode="sum", per_sample_weights=weights.flatten(0, 1))
    return sums.view(count, -1, width)


def gather_windows(bits: Tensor, starts: Tensor, strides: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    """Windows of crops as a stack, uint8 [n, max height, max width], on the bits' device.

    Pixels outside a window's own height and width are 0 on the CPU and arbitrary elsewhere; callers give them weight 0.

    Args:
        bits: uint8 [P], not empty.
        starts: int64 [n], index of each window's first pixel in ``bits``.
        strides: int64 [n], width of each window's crop.
        heights: int64 [n] on the CPU, of the windows.
        widths: int64 [n] on the CPU.
    """
    shape = len(starts), int(heights.max()), int(widths.max())
    if bits.device.type != "cpu":
        return indexed_windows(bits, starts, strides, *shape[1:])
    # A strided copy for each window takes a quarter of the time of an index for each pixel.
    stack = np.zeros(shape, np.uint8)
    flat = bits.numpy()
    sizes = zip(starts.tolist(), strides.tolist(), heights.tolist(), widths.tolist(), strict=True)
    for image, (start, stride, h, w) in zip(stack, sizes, strict=True):
        if h and w:
            image[:h, :w] = np.ndarray((h, w), np.uint8, flat, start, (stride, 1))
    return torch.from_numpy(stack)


def indexed_windows(bits: Tensor, starts: Tensor, strides: Tensor, height: int, width: int) -> Tensor:
    """``gather_windows`` in a few large operations, for devices with launch costs."""
    device = bits.device
    starts, strides = starts.to(device), strides.to(device)
    lines = starts[:, None] + torch.arange(height, device=device) * strides[:, None]  # [n, height]
    index = lines[:, :, None] + torch.arange(width, device=device)  # [n, height, width]
    return bits.take(index.clamp_(max=bits.numel() - 1))


def size_buckets(heights: Tensor, widths: Tensor, budget: int) -> Iterator[Tensor]:
    """Groups of items of similar size: index tensors that cover all items with an area.

    Args:
        heights: int64 [n], on the CPU.
        widths: int64 [n].
        budget: pixels of a group at most, padded to its largest height and width; a larger item is a group itself.
    """
    sides = torch.maximum(heights, widths)
    order = sides.argsort(stable=True)
    order = order[torch.minimum(heights, widths)[order] > 0]
    indices, sizes = order.tolist(), sides[order].tolist()
    start = 0
    for i, side in enumerate(sizes):
        # Sides within a group differ by a third at most, or by 8 pixels.
        if i > start and (side > 8 + sizes[start] * 4 // 3 or (i + 1 - start) * side * side > budget):
            yield torch.tensor(indices[start:i])
            start = i
    if len(indices) > start:
        yield torch.tensor(indices[start:])
