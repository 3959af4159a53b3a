"""From M x M mask probabilities in boxes to masks on the image."""

from __future__ import annotations

import torch
from torch import Tensor

from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import cut_stack, heights_widths, used_extents
from segkit.structures.separable import hat, resample, size_buckets
from segkit.utils.errors import SegkitError

# Pixels pasted at a time: 16 MB as fp32. An object larger than this goes alone.
BUDGET = 1 << 22


@torch.no_grad()
def paste_masks(probs: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> InstanceMasks:
    """Paste mask probabilities into their boxes.

    The probability of a pixel is the bilinear interpolation, at its centre, of the M x M values spread over the box,
    with zeros around them (as Detectron2 pastes); a mask is where it reaches the threshold. Time and memory depend on
    the boxes, not on the image: each is computed in its own window, boxes of similar size together.

    Args:
        probs: float [N, M, M] in 0..1.
        boxes: float [N, 4] XYXY in pixels; may reach outside the image. A box of no area, or not finite, gives an
            empty mask.
        size: (H, W) of the image.
        threshold: above 0.
    """
    if not threshold > 0:
        raise SegkitError(f"paste_masks: threshold {threshold}, expected a number above 0", key="threshold")
    device, count, resolution = probs.device, len(probs), probs.shape[-1]
    boxes = boxes.detach().float()
    spans = boxes.cpu()
    sides = spans[:, 2:] - spans[:, :2]
    usable = spans.isfinite().all(1) & (sides > 0).all(1)
    # Interpolation reaches half a probability cell beyond the box.
    cell = sides / (2 * resolution)
    limits = torch.tensor([size[1], size[0]], dtype=torch.float)
    low = (spans[:, :2] - cell - 0.5).floor().clamp(min=0).minimum(limits)
    high = ((spans[:, 2:] + cell - 0.5).ceil() + 1).clamp(min=0).minimum(limits)
    windows = torch.where(usable[:, None], torch.cat([low, high.maximum(low)], 1), 0.0).long()
    heights, widths = heights_widths(windows)
    extents = torch.zeros(count, 4, dtype=torch.long)
    pieces, order = [], []
    for group in size_buckets(heights, widths, BUDGET):
        here = group.to(device)
        rows, columns = (
            _weights(boxes[here, k::2], windows[group, k::2].to(device), int(longest), resolution)
            for k, longest in ((1, heights[group].max()), (0, widths[group].max()))
        )
        values = resample(rows, probs[here].float(), columns)  # [n, height, width]
        local = used_extents(values.amax(1) >= threshold, values.amax(2) >= threshold)
        pieces.append((cut_stack(values, local) >= threshold).to(torch.uint8))
        filled = local[:, 2] > 0
        extents[group] = torch.where(filled[:, None], local + windows[group][:, [0, 1, 0, 1]], 0)
        order.append(group)
    if not pieces:
        return InstanceMasks(torch.zeros(0, dtype=torch.uint8, device=device), extents, size)
    # The pieces are in order of size; back to the boxes' order.
    order_of = torch.cat(order)
    sorted_masks = InstanceMasks(torch.cat(pieces), extents[order_of], size)
    skipped = torch.ones(count, dtype=torch.bool)
    skipped[order_of] = False
    back = torch.cat([order_of, skipped.nonzero().squeeze(1)]).argsort()
    empty = InstanceMasks(sorted_masks.bits[:0], extents[skipped], size)
    return InstanceMasks.cat([sorted_masks, empty])[back]


def _weights(spans: Tensor, windows: Tensor, length: int, resolution: int) -> Tensor:
    """The weight [n, length, M] of each probability row (or column) in each pixel of the windows.

    Args:
        spans: float [n, 2], start and end of the boxes.
        windows: int64 [n, 2], start and end of the pixels wanted; those after the end get no weight.
        length: of the longest window.
        resolution: M.
    """
    pixels = windows[:, :1] + torch.arange(length, device=spans.device)  # [n, length]
    places = (pixels + 0.5 - spans[:, :1]) / (spans[:, 1:] - spans[:, :1]) * resolution - 0.5
    places = places.masked_fill(pixels >= windows[:, 1:], -1.0)  # a pixel's width from all of them
    return hat(places[:, :, None] - torch.arange(resolution, device=spans.device))
