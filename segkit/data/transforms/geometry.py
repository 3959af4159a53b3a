"""Pure functions that move a sample's pixels: image, boxes and masks in one place, so that they cannot part.

Boxes are XYXY floats in pixels, pixel i covers [i, i + 1). Images and masks are ``[..., H, W]``.
"""

from __future__ import annotations

import dataclasses

import torch
from torchvision.transforms.v2 import functional as F

from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets


def hflip(sample: Sample) -> Sample:
    """Mirror left and right."""
    width = sample.image.shape[2]
    x0, y0, x1, y1 = sample.targets.boxes.unbind(1)
    masks = sample.targets.masks
    return _moved(
        sample,
        F.horizontal_flip_image(sample.image),
        torch.stack([width - x1, y0, width - x0, y1], dim=1),
        None if masks is None else masks.hflip(),
    )


def vflip(sample: Sample) -> Sample:
    """Mirror top and bottom."""
    height = sample.image.shape[1]
    x0, y0, x1, y1 = sample.targets.boxes.unbind(1)
    masks = sample.targets.masks
    return _moved(
        sample,
        F.vertical_flip_image(sample.image),
        torch.stack([x0, height - y1, x1, height - y0], dim=1),
        None if masks is None else masks.vflip(),
    )


def rot90(sample: Sample, k: int) -> Sample:
    """Turn by ``k`` quarter turns against the clock, as ``torch.rot90(image, k, (-2, -1))`` does."""
    k = k % 4
    if k == 0:
        return sample
    height, width = sample.image.shape[1:]
    boxes = sample.targets.boxes
    for _ in range(k):
        x0, y0, x1, y1 = boxes.unbind(1)
        boxes = torch.stack([y0, width - x1, y1, width - x0], dim=1)
        height, width = width, height
    masks = sample.targets.masks
    image = torch.rot90(sample.image, k, (-2, -1)).contiguous()
    return _moved(sample, image, boxes, None if masks is None else masks.rot90(k))


def resize(sample: Sample, size: tuple[int, int], antialias: bool = True) -> Sample:
    """Bilinear resize to ``size`` (H, W); a mask that would vanish keeps its largest pixel, counted in ``rescued``."""
    height, width = sample.image.shape[1:]
    if (height, width) == size:
        return sample
    image = F.resize_image(sample.image, list(size), antialias=antialias)
    factor = torch.tensor([size[1] / width, size[0] / height] * 2)
    masks = sample.targets.masks
    resized, rescued = (None, 0) if masks is None else masks.resize_counted(size, antialias=antialias)
    sample = _moved(sample, image, sample.targets.boxes * factor, resized)
    return dataclasses.replace(sample, rescued=sample.rescued + rescued)


def crop(sample: Sample, window: tuple[int, int, int, int], min_visibility: float = 0.0) -> Sample:
    """Cut out the window (x0, y0, x1, y1), whole pixels inside the image.

    The box of an object that the window cuts becomes the box of what remains of its mask (of its box, where there are
    no masks). Objects of which nothing remains, or less than ``min_visibility`` of their area, are removed with box,
    label and mask, and counted in ``sample.dropped``.
    """
    x0, y0, x1, y1 = window
    height, width = y1 - y0, x1 - x0
    assert 0 <= x0 < x1 <= sample.image.shape[2] and 0 <= y0 < y1 <= sample.image.shape[1], (window, sample.image.shape)
    targets = sample.targets
    shifted = targets.boxes - torch.tensor([x0, y0, x0, y0])
    limit = torch.tensor([width, height, width, height])
    boxes = torch.minimum(shifted.clamp(min=0), limit)
    cut = (boxes != shifted).any(dim=1)
    masks = targets.masks
    if masks is None:
        before = _box_areas(shifted)
        remaining = _box_areas(boxes)
    else:
        before = masks.areas()
        masks = masks.crop(x0, y0, x1, y1)
        remaining = masks.areas()
        boxes = torch.where(cut[:, None], masks.boxes(), boxes)
    # An area of 0 before (a box without extent) is removed as well: nothing can be learnt from it.
    kept = (remaining > 0) & (remaining >= min_visibility * before)
    image = sample.image[:, y0:y1, x0:x1].contiguous()
    cropped = Targets(boxes, targets.labels, masks, targets.crowd)[kept]
    return dataclasses.replace(sample, image=image, targets=cropped, dropped=sample.dropped + int((~kept).sum()))


def without_degenerate(sample: Sample) -> Sample:
    """Without the objects whose box has no area or is not finite, as a file may have them; they count as ``dropped``."""
    bad = sample.targets.degenerate()
    if not bool(bad.any()):
        return sample
    return dataclasses.replace(sample, targets=sample.targets[~bad], dropped=sample.dropped + int(bad.sum()))


def _box_areas(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2] - boxes[:, 0]).clamp(min=0) * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)


def _moved(sample: Sample, image: torch.Tensor, boxes: torch.Tensor, masks: InstanceMasks | None) -> Sample:
    targets = Targets(boxes, sample.targets.labels, masks, sample.targets.crowd)
    return dataclasses.replace(sample, image=image, targets=targets)
