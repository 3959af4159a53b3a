"""What the mask head should predict for its boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from segkit.structures.ragged import heights_widths
from segkit.structures.separable import gather_windows, resample, size_buckets

if TYPE_CHECKING:
    from segkit.structures.masks import InstanceMasks

# Pixels of padded windows at a time: 4 MB of bits, 16 MB as fp32, 32 MB of index.
BUDGET = 1 << 22


@torch.no_grad()
def mask_targets(masks: InstanceMasks, indices: Tensor, boxes: Tensor, resolution: int) -> Tensor:
    """Masks seen in boxes, at M x M.

    Equal to ``roi_align(dense.float(), boxes, M, sampling_ratio=0, aligned=True) >= 0.5`` (but for rounding where that
    is 0.5) without N x H x W: RoIAlign's mean over a bin's samples is a weighted sum of rows, then of columns, and only
    the part of an object's crop that the box reaches has any weight. Always in fp32 or better, under autocast too.

    The pixels stay where they are. Boxes and indices are needed on the CPU: from a GPU they are waited for.

    Args:
        masks: the image's objects.
        indices: int64 [K], the mask for each box.
        boxes: float [K, 4] XYXY in the canvas's pixels.
        resolution: M.

    Returns:
        bool [K, M, M] on the masks' device.
    """
    device = masks.bits.device
    result = torch.zeros(len(indices), resolution, resolution, dtype=torch.bool, device=device)
    indices = indices.cpu()
    boxes = boxes.detach().float().cpu()
    extents = masks.extents[indices]
    canvas = torch.tensor(masks.canvas[::-1])
    # The pixels that samples in a box can touch, and of them those in the crop.
    first = (boxes[:, :2] - 0.5).floor().long().clamp(min=0).minimum(canvas - 1).maximum(extents[:, :2])
    last = ((boxes[:, 2:] - 0.5).floor().long() + 2).clamp(min=1).minimum(canvas).minimum(extents[:, 2:])
    windows = torch.cat([first, last.maximum(first)], 1)
    _, strides = heights_widths(extents)
    corner = first - extents[:, :2]
    starts = masks.offsets[indices] + corner[:, 1] * strides + corner[:, 0]
    heights, widths = heights_widths(windows)
    for group in size_buckets(heights, widths, BUDGET):
        images = gather_windows(masks.bits, starts[group], strides[group], heights[group], widths[group])
        rows, columns = (
            bin_weights(boxes[group, k::2], windows[group, k::2], masks.canvas[1 - k], resolution, device)
            for k in (1, 0)
        )
        result[group.to(device)] = resample(rows, images, columns) >= 0.5
    return result


def bin_weights(spans: Tensor, windows: Tensor, length: int, resolution: int, device: torch.device) -> Tensor:
    """RoIAlign's weights in one direction: the share that each pixel of the window has in each bin.

    Args:
        spans: float [n, 2] start and end of the box, on the CPU.
        windows: int64 [n, 2] start and end of the window, on the CPU; pixels after its end get no weight.
        length: of the canvas.
        resolution: M, number of bins.
        device: of the result.

    Returns:
        [n, M, S] with S the longest window's length.
    """
    reach = int((windows[:, 1] - windows[:, 0]).max())
    samples = ((spans[:, 1] - spans[:, 0]) / resolution).ceil().clamp(min=0)  # [n] a bin
    most = int(samples.max())
    spans, windows, samples = spans.to(device), windows.to(device), samples.to(device)
    ends = (windows[:, 1] - windows[:, 0])[:, None, None]
    bins = torch.arange(resolution, device=device)[:, None]
    step = ((spans[:, 1] - spans[:, 0]) / resolution)[:, None, None]
    number = torch.arange(most, device=device)
    # As torchvision's kernel computes it, so that roundings agree.
    points = spans[:, :1, None] - 0.5 + bins * step + (number + 0.5) * step / samples.clamp(min=1)[:, None, None]
    used = (points >= -1) & (points <= length) & (number < samples[:, None, None])  # [n, M, samples]
    points = points.clamp(0, length - 1)
    low = points.floor()
    share = torch.stack([1 - (points - low), points - low], 3) * used[..., None]
    places = low[..., None].long() + torch.arange(2, device=device) - windows[:, :1, None, None]
    places = places.masked_fill((places < 0) | (places >= ends[..., None]), reach)  # a column for all outside
    weights = torch.zeros(len(spans), resolution, reach + 1, device=device)
    # Not all at once: a bin's samples share pixels, and on CUDA the order of one scatter's additions varies.
    for place, weight in zip(places.flatten(2).unbind(2), share.flatten(2).unbind(2), strict=True):
        weights.scatter_add_(2, place[..., None], weight[..., None])
    return weights[:, :, :reach] / samples.clamp(min=1)[:, None, None]
