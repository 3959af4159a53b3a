"""Mask targets: ground-truth masks cropped to boxes and resampled to M x M.

torchvision's ``project_masks_on_boxes`` takes dense masks: 283 ms for a step of two images of 800 x 800 with 200 objects,
where this takes 4.2 ms (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import heights_widths
from segkit.structures.separable import gather_windows, hat, resample, size_buckets

# Pixels of padded windows at a time: 4 MB of bits, 16 MB as fp32, 32 MB of indices.
BUDGET = 1 << 22
NOWHERE = -10.0  # coordinate of sampling points that do not count, far from all pixels


def mask_targets(masks: InstanceMasks, indices: Tensor, boxes: Tensor, resolution: int) -> Tensor:
    """Mask targets of one image's boxes at M x M; see :func:`batch_mask_targets`.

    Args:
        masks: the image's objects.
        indices: int64 [K], index of each box's mask.
        boxes: float [K, 4] XYXY in the image's pixels.
        resolution: M.

    Returns:
        bool [K, M, M] on the masks' device.
    """
    return batch_mask_targets([masks], [indices], [boxes], resolution)


@torch.no_grad()
def batch_mask_targets(
    masks: Sequence[InstanceMasks], indices: Sequence[Tensor], boxes: Sequence[Tensor], resolution: int
) -> Tensor:
    """Mask targets of several images' boxes at M x M.

    Equal to ``roi_align(dense.float(), boxes, M, sampling_ratio=0, aligned=True) >= 0.5`` (except for rounding at exactly
    0.5) without N x H x W: RoIAlign's mean over the samples of a bin is a weighted sum of rows, then of columns, and only
    the part of an object's crop inside the box has weights. Always in fp32 or better, under autocast too.

    The pixels stay on their device. Boxes and indices are needed on the CPU: copying them from a GPU synchronises. The
    boxes of all images are processed together, in groups of similar size, since a GPU takes as long for few as for many.

    Args:
        masks: the objects of each image; at least one image.
        indices: int64 [K_i] of each image, index of each box's mask.
        boxes: float [K_i, 4] XYXY of each image, in its pixels.
        resolution: M.

    Returns:
        bool [K, M, M], the images one after the other, on the masks' device.
    """
    bits = masks[0].bits if len(masks) == 1 else torch.cat([image.bits for image in masks])
    firsts = accumulate([0, *(image.bits.numel() for image in masks[:-1])])
    windows_of_images = [seen_windows(*image) for image in zip(masks, indices, boxes, firsts, strict=True)]
    starts, strides, windows, image_sizes, spans = (torch.cat(parts) for parts in zip(*windows_of_images, strict=True))
    result = torch.zeros(len(spans), resolution, resolution, dtype=torch.bool, device=bits.device)
    heights, widths = heights_widths(windows)
    groups = list(size_buckets(heights, widths, BUDGET))
    if not groups:
        return result
    order = torch.cat(groups)
    samples = ((spans[:, 2:] - spans[:, :2]) / resolution).ceil().clamp(min=0)  # [K, 2] a bin, across and down
    # All columns are copied to the device at once, sorted by group, as fp64, which represents each value exactly.
    columns_on_cpu = [order, *(column[order] for column in (starts, strides, windows, image_sizes, samples, spans))]
    table = torch.cat([column.double().reshape(len(order), -1) for column in columns_on_cpu], 1)
    table = table.to(bits.device, non_blocking=True)
    first_pixels, crop_widths = table[:, 1:3].long().unbind(1)
    # From the fourth on, columns alternate between x and y.
    down, across = (table[:, k::2].float()[..., None, None] for k in (4, 3))  # [K, 6, 1, 1] each
    most = [int(count) for count in samples[order].amax(0)]
    points = sample_points(down, most[1], resolution), sample_points(across, most[0], resolution)
    found = []
    first = 0
    for group in groups:
        part = slice(first, first + len(group))
        first = part.stop
        images = gather_windows(bits, first_pixels[part], crop_widths[part], heights[group], widths[group])
        most = [int(count) for count in samples[group].amax(0)]
        rows = bin_weights(down[part], points[0][part, :, : most[1]], images.shape[1])
        columns = bin_weights(across[part], points[1][part, :, : most[0]], images.shape[2])
        found.append(resample(rows, images, columns) >= 0.5)
    result[table[:, 0].long()] = torch.cat(found)
    return result


def seen_windows(
    masks: InstanceMasks, indices: Tensor, boxes: Tensor, first: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The window of each object's crop that the samples in its box can read; all on the CPU.

    Args:
        masks: an image's objects.
        indices: [K], index of each box's mask.
        boxes: [K, 4] XYXY.
        first: index of the image's first bit.

    Returns:
        int64 [K], index of the window's first pixel in the bits; [K], width of the crop; [K, 4], the window XYXY; [K, 2],
        the image's width and height; and the boxes as fp32 [K, 4].
    """
    indices = indices.cpu()
    boxes = boxes.detach().float().cpu()
    crop_boxes = masks.crop_boxes[indices]
    image_size = torch.tensor(masks.image_size[::-1])
    low = (boxes[:, :2] - 0.5).floor().long().clamp(min=0).minimum(image_size - 1).maximum(crop_boxes[:, :2])
    high = ((boxes[:, 2:] - 0.5).floor().long() + 2).clamp(min=1).minimum(image_size).minimum(crop_boxes[:, 2:])
    _, strides = heights_widths(crop_boxes)
    corner = low - crop_boxes[:, :2]
    starts = first + masks.offsets[indices] + corner[:, 1] * strides + corner[:, 0]
    return starts, strides, torch.cat([low, high.maximum(low)], 1), image_size.expand(len(boxes), 2), boxes


def sample_points(axis: Tensor, most: int, resolution: int) -> Tensor:
    """Coordinates of RoIAlign's sampling points in one direction.

    Args:
        axis: fp32 [n, 6, 1, 1]: start and end of the window, length of the image, samples in each bin, start and end of
            the box.
        most: the largest number of samples in a bin.
        resolution: M, number of bins.

    Returns:
        [n, M, samples] coordinates (a pixel's centre is an integer), NOWHERE for points that do not count.
    """
    _, _, length, samples, low, high = axis.unbind(1)  # [n, 1, 1] each
    bins = torch.arange(resolution, device=axis.device)[:, None]
    sample = torch.arange(most, device=axis.device)
    step = (high - low) / resolution
    # In the order of torchvision's kernel, for the same rounding.
    points = low - 0.5 + bins * step + (sample + 0.5) * step / samples.clamp(min=1)
    used = (points >= -1) & (points <= length) & (sample < samples)
    return points.clamp(min=0).minimum(length - 1).masked_fill(~used, NOWHERE)


def bin_weights(axis: Tensor, points: Tensor, length: int) -> Tensor:
    """RoIAlign's weights of the window's pixels in each bin, in one direction.

    Args:
        axis: as for ``sample_points``; pixels after the window's end have weight 0.
        points: [n, M, samples].
        length: S, of the longest window.

    Returns:
        [n, M, S].
    """
    start, end, _, samples, _, _ = axis.unbind(1)
    pixels = start + torch.arange(length, device=axis.device)
    pixels = pixels.masked_fill(pixels >= end, 3 * NOWHERE)[:, :, None]  # [n, 1, 1, S]
    weights = torch.zeros(len(axis), points.shape[1], length, device=axis.device)
    together = max(1, BUDGET // max(1, weights.numel()))  # samples
    for chunk in points.split(together, 2):
        weights += hat(chunk[..., None] - pixels).sum(2)
    return weights.div_(samples.clamp(min=1))
