"""From M x M mask probabilities in boxes to masks on the image.

Each object is pasted in its own window, and only the runs of set pixels leave it: crops and RLE are both made of these,
so they cannot disagree, and time and memory depend on the objects' sizes, not on the image's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.structures.mask_geometry import transpose
from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import heights_widths
from segkit.structures.rle import encode_runs
from segkit.structures.runs import Runs, fill_runs, join_runs
from segkit.structures.separable import size_buckets
from segkit.utils.errors import SegkitError

# Pixels worked on at a time, some 16 bytes each. A larger object is pasted strip by strip.
BUDGET = 1 << 19
# Pixels of whole crops filled at a time, 6 bytes each.
FILL_BUDGET = 1 << 24


def paste_masks(probs: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> InstanceMasks:
    """Paste mask probabilities into their boxes.

    The probability of a pixel is the bilinear interpolation, at its centre, of the M x M values spread over the box,
    with zeros around them (as Detectron2 pastes); a mask is where it reaches the threshold. Always in fp32.

    Args:
        probs: float [N, M, M] in 0..1.
        boxes: float [N, 4] XYXY in pixels; may reach outside the image. A box of no area, or not finite, gives an
            empty mask.
        size: (H, W) of the image.
        threshold: above 0.

    Returns:
        masks on the probabilities' device.
    """
    pieces, crop_boxes = [torch.zeros(0, dtype=torch.uint8)], [torch.zeros(0, 4, dtype=torch.long)]
    heights, widths = heights_widths(_windows(boxes.detach().float().cpu(), probs.shape[-1], size))
    areas = heights * widths
    counts = torch.unique_consecutive((areas.cumsum(0) - areas) // FILL_BUDGET, return_counts=True)[1].tolist()
    for some_probs, some_boxes in zip(probs.split(counts), boxes.split(counts), strict=True):
        runs = paste_runs(some_probs, some_boxes, size, threshold)
        columns = runs.starts // size[0]
        tops = runs.starts - columns * size[0]
        turned = fill_runs(runs.objects, columns, tops, tops + runs.ends - runs.starts, len(some_boxes))
        bits, extent = transpose(*(torch.from_numpy(array) for array in turned))
        pieces.append(bits)
        crop_boxes.append(extent)
    return InstanceMasks(torch.cat(pieces).to(probs.device), torch.cat(crop_boxes), size)


def paste_rle(probs: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float = 0.5) -> list[dict[str, Any]]:
    """``paste_masks(...).to_rle()`` without the masks: at no time more than a chunk of pixels is held."""
    return encode_runs(paste_runs(probs, boxes, size, threshold), len(boxes), size)


@torch.no_grad()
def paste_runs(probs: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float) -> Runs:
    """The set pixels of ``paste_masks`` as runs within the columns of the image, in order.

    On CUDA this waits once for the boxes, and once a chunk for its runs.
    """
    if not threshold > 0:
        raise SegkitError(f"paste_masks: threshold {threshold}, expected a number above 0", key="threshold")
    device, resolution = probs.device, probs.shape[-1]
    boxes = boxes.detach().float()
    windows, objects = _strips(_windows(boxes.cpu(), resolution, size))
    heights, widths = heights_widths(windows)
    found = []
    # Objects smaller than their M x M values cost as much as these.
    for group in size_buckets(heights.clamp(min=resolution), widths.clamp(min=resolution), BUDGET):
        numbers = objects[group].to(device)
        ranges, spans = windows[group].to(device), boxes[numbers]
        # A pixel more than the highest window: the 0 there ends the runs of a column.
        rows = _places(spans[:, 1::2], ranges[:, 1::2], int(heights[group].max()) + 1, resolution)
        columns = _places(spans[:, 0::2], ranges[:, 0::2], int(widths[group].max()), resolution)
        values = F.pad(probs.index_select(0, numbers).float(), (1, 1, 1, 1))  # with the zeros around
        values = _interpolate(values, *rows)  # [n, h + 1, M + 2]
        values = _interpolate(values.transpose(1, 2), *columns)  # [n, w, h + 1]: column by column, as RLE wants pixels
        found.append(_runs(values, threshold, objects[group], windows[group], size[0]))
    return join_runs(found)


def _windows(boxes: Tensor, resolution: int, size: tuple[int, int]) -> Tensor:
    """int64 [N, 4], the pixels of the image that the values in a box reach; 0, 0, 0, 0 for a box that is none."""
    sides = boxes[:, 2:] - boxes[:, :2]
    usable = boxes.isfinite().all(1) & (sides > 0).all(1)
    cell = sides / (2 * resolution)  # interpolation reaches half a value's cell beyond the box
    limits = boxes.new_tensor([size[1], size[0]])
    low = (boxes[:, :2] - cell - 0.5).floor().clamp(min=0).minimum(limits)
    high = ((boxes[:, 2:] + cell - 0.5).ceil() + 1).clamp(min=0).minimum(limits)
    return torch.where(usable[:, None], torch.cat([low, high.maximum(low)], 1), 0.0).long()


def _strips(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Windows [S, 4] of no more than the budget's pixels, cut between columns, and the object [S] of each."""
    heights, widths = heights_widths(windows)
    wide = (BUDGET // heights.clamp(min=1)).clamp(min=1)
    counts = torch.where(heights > 0, (widths + wide - 1) // wide, 0)
    objects = torch.repeat_interleave(counts)
    number = torch.arange(len(objects)) - (counts.cumsum(0) - counts)[objects]
    strips, wide = windows[objects], wide[objects]
    strips[:, 0] += number * wide
    strips[:, 2] = torch.minimum(strips[:, 2], strips[:, 0] + wide)
    return strips, objects


def _places(spans: Tensor, ranges: Tensor, length: int, resolution: int) -> tuple[Tensor, Tensor]:
    """Between which rows of values, M of them with a row of zeros before and after, the pixels' centres lie.

    Args:
        spans: float [n, 2], start and end of the boxes.
        ranges: int64 [n, 2], start and end of the pixels wanted; those after the end lie in the zeros.
        length: of the longest range.
        resolution: M.

    Returns:
        int64 [n, length], the row before, and float [n, length], how far it is to the next.
    """
    pixels = ranges[:, :1] + torch.arange(length, device=spans.device)
    places = (pixels + 0.5 - spans[:, :1]) / (spans[:, 1:] - spans[:, :1]) * resolution + 0.5
    places = places.masked_fill_(pixels >= ranges[:, 1:], 0).clamp_(0, resolution + 1)
    before = places.floor().clamp_(max=resolution)
    return before.long(), places.sub_(before)


def _interpolate(stack: Tensor, before: Tensor, share: Tensor) -> Tensor:
    """Rows [n, L, C] between the rows of a stack [n, R, C].

    Whole rows are picked and mixed: a matrix product, all of whose weights but two a row are 0, takes twice as long and
    rounds the mean of equal values.
    """
    count, rows, columns = stack.shape
    index = (before + torch.arange(count, device=stack.device)[:, None] * rows).flatten()
    table = stack.reshape(count * rows, columns)
    mixed = table.index_select(0, index).lerp_(table.index_select(0, index + 1), share.reshape(-1, 1))
    return mixed.view(count, -1, columns)


def _runs(values: Tensor, threshold: float, objects: Tensor, windows: Tensor, height: int) -> Runs:
    """The runs in values [n, w, h] of what reaches the threshold.

    Args:
        values: of the windows' pixels, column by column; 0 beyond a smaller window and in the last pixel of each column.
        threshold: above 0.
        objects: int64 [n], on the CPU: the object of each window.
        windows: int64 [n, 4], on the CPU.
        height: of the image.
    """
    _, wide, tall = values.shape
    # With a 0 before all of them each change is a start, and the next one its end.
    reached = torch.zeros(1 + values.numel(), dtype=torch.bool, device=values.device)
    torch.ge(values.reshape(-1), threshold, out=reached[1:])
    if values.device.type == "cpu":
        flat = reached.numpy()
        changes = np.flatnonzero(flat[1:] != flat[:-1])  # in a quarter of the time that torch's nonzero takes
    else:
        changes = (reached[1:] != reached[:-1]).nonzero().squeeze(1).cpu().numpy()
    starts, ends = changes[0::2], changes[1::2]
    lines = starts // tall
    numbers = lines // wide
    left, top = windows.numpy()[numbers, :2].T
    shift = (left + lines - numbers * wide) * height + top - lines * tall
    return Runs(objects.numpy()[numbers], starts + shift, ends + shift)
