"""Exact flips, quarter turns, crops, shifts and occlusion of masks, within their boxes.

Functions take the fields of InstanceMasks (bits, crop_boxes, image_size) and return new (bits, crop_boxes).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segkit.structures.ragged import arrays, pack, tighten


def hflip(bits: Tensor, crop_boxes: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Flips masks horizontally."""
    x0, y0, x1, y1 = crop_boxes.unbind(1)
    moved = torch.stack([image_size[1] - x1, y0, image_size[1] - x0, y1], 1)
    return pack((crop[:, ::-1] for crop in arrays(bits, crop_boxes)), bits.device), _keep_empty(crop_boxes, moved)


def vflip(bits: Tensor, crop_boxes: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Flips masks vertically."""
    x0, y0, x1, y1 = crop_boxes.unbind(1)
    moved = torch.stack([x0, image_size[0] - y1, x1, image_size[0] - y0], 1)
    return pack((crop[::-1] for crop in arrays(bits, crop_boxes)), bits.device), _keep_empty(crop_boxes, moved)


def transpose(bits: Tensor, crop_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Exchanges x and y."""
    return pack((crop.T for crop in arrays(bits, crop_boxes)), bits.device), crop_boxes[:, [1, 0, 3, 2]]


def rot90(bits: Tensor, crop_boxes: Tensor, image_size: tuple[int, int], k: int) -> tuple[Tensor, Tensor]:
    """Rotates masks by ``k`` quarter turns, as ``torch.rot90(dense, k, (1, 2))``."""
    k %= 4
    if k == 0:
        return bits, crop_boxes
    if k == 2:
        return vflip(*hflip(bits, crop_boxes, image_size), image_size)
    flip = vflip if k == 1 else hflip
    return flip(*transpose(bits, crop_boxes), (image_size[1], image_size[0]))


def move(crop_boxes: Tensor, x: int, y: int) -> Tensor:
    """Crop boxes moved ``x`` pixels to the right and ``y`` down."""
    return _keep_empty(crop_boxes, crop_boxes + torch.tensor([x, y, x, y]))


def crop(bits: Tensor, crop_boxes: Tensor, window: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Crops masks to ``window`` (x0, y0, x1, y1), in its coordinates."""
    low, high = torch.tensor(window[:2]), torch.tensor(window[2:])
    inside = torch.cat([crop_boxes[:, :2].maximum(low), crop_boxes[:, 2:].minimum(high)], 1)
    outside = (inside[:, 2:] <= inside[:, :2]).any(1)
    inside = torch.where(outside[:, None], crop_boxes[:, [0, 1, 0, 1]], inside)
    cut = (inside != crop_boxes).any(1).nonzero().squeeze(1).tolist()
    if not cut:
        return bits, move(crop_boxes, -window[0], -window[1])
    local = (inside - crop_boxes[:, [0, 1, 0, 1]]).tolist()
    pairs = zip(arrays(bits, crop_boxes), local, strict=True)
    # A cut mask may have empty rows or columns at its new border.
    crops, inside = tighten([c[y0:y1, x0:x1] for c, (x0, y0, x1, y1) in pairs], inside, cut)
    return pack(crops, bits.device), move(inside, -window[0], -window[1])


def erase(bits: Tensor, crop_boxes: Tensor, region: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Masks without the pixels of ``region``, and which of them lost pixels (bool [N]).

    Args:
        bits: uint8 [P].
        crop_boxes: int64 [N, 4].
        region: bool [H, W] on the CPU.
    """
    hidden = region.numpy()
    crops, touched = arrays(bits, crop_boxes), []
    for i, (crop, (x0, y0, x1, y1)) in enumerate(zip(crops, crop_boxes.tolist(), strict=True)):
        lost = hidden[y0:y1, x0:x1] & (crop != 0)
        if lost.any():
            crops[i] = np.where(lost, np.uint8(0), crop)
            touched.append(i)
    crops, crop_boxes = tighten(crops, crop_boxes, touched)
    changed = torch.zeros(len(crop_boxes), dtype=torch.bool)
    changed[touched] = True
    return pack(crops, bits.device), crop_boxes, changed


def union(bits: Tensor, crop_boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """The pixels that any mask covers: bool [H, W] on the CPU."""
    region = np.zeros(image_size, bool)
    for crop, (x0, y0, x1, y1) in zip(arrays(bits, crop_boxes), crop_boxes.tolist(), strict=True):
        region[y0:y1, x0:x1] |= crop != 0
    return torch.from_numpy(region)


def _keep_empty(before: Tensor, after: Tensor) -> Tensor:
    """Crop boxes ``after`` a move, with 0, 0, 0, 0 for masks that were empty ``before``."""
    return after.masked_fill((before[:, 2] == before[:, 0])[:, None], 0)
