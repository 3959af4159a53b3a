"""Geometric transforms as pure functions, which move image, boxes and masks together.

Boxes are XYXY floats in pixels, pixel i covers [i, i + 1). Images and masks are ``[..., H, W]``. Each function records its
map in ``sample.geometry``, by which predictions are mapped back to the file.

torchvision's v2 transforms would move dense masks [N, H, W]: loading, flipping and resizing an image of 250 objects takes
33 ms here and 764 ms there, its masks 0.15 MB and 160 MB (docs/benchmarks.md). Images use torchvision's functions, except
for affine maps, where torchvision weights pixels at the image's border twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch.nn.functional import grid_sample
from torchvision.transforms.v2 import functional as F

from segkit.data.transforms.cutting import box_areas, cut_targets, stays
from segkit.structures.affine import inverse, move_hulls, sampling_grid
from segkit.structures.image_geometry import ImageGeometry, turn_boxes
from segkit.structures.lazy_targets import LazyTargets
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Sample
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.errors import SegkitError
from segkit.utils.images import LazyImage

# A colour, 0 to 255: one value for all channels, or one value a channel.
Fill = int | Sequence[int]


def hflip(sample: Sample) -> Sample:
    """Flips left and right."""
    width = sample.image.shape[2]
    x0, y0, x1, y1 = sample.targets.boxes.unbind(1)
    masks = sample.targets.masks
    return _moved(
        sample,
        F.horizontal_flip_image(sample.image),
        torch.stack([width - x1, y0, width - x0, y1], dim=1),
        None if masks is None else masks.hflip(),
        sample.known_geometry.hflip(),
    )


def vflip(sample: Sample) -> Sample:
    """Flips top and bottom."""
    height = sample.image.shape[1]
    x0, y0, x1, y1 = sample.targets.boxes.unbind(1)
    masks = sample.targets.masks
    return _moved(
        sample,
        F.vertical_flip_image(sample.image),
        torch.stack([x0, height - y1, x1, height - y0], dim=1),
        None if masks is None else masks.vflip(),
        sample.known_geometry.vflip(),
    )


def rot90(sample: Sample, k: int) -> Sample:
    """Rotates by ``k`` counterclockwise quarter turns, as ``torch.rot90(image, k, (-2, -1))``."""
    k = k % 4
    if k == 0:
        return sample
    height, width = sample.image.shape[1:]
    boxes = turn_boxes(sample.targets.boxes, (height, width), k)
    masks = sample.targets.masks
    image = torch.rot90(sample.image, k, (-2, -1)).contiguous()
    return _moved(sample, image, boxes, None if masks is None else masks.rot90(k), sample.known_geometry.rot90(k))


def resize(sample: Sample, size: tuple[int, int], antialias: bool = True) -> Sample:
    """Resizes bilinearly to ``size`` (H, W).

    A mask that would become empty keeps the pixel that it covers most: it is rescued, and ``sample.rescued`` counts it.
    """
    height, width = sample.image.shape[1:]
    if (height, width) == size:
        return sample
    image = F.resize_image(sample.image, list(size), antialias=antialias)
    # Multiply before dividing, so that a box at the border stays there exactly.
    boxes = sample.targets.boxes * torch.tensor([size[1], size[0]] * 2) / torch.tensor([width, height] * 2)
    masks = sample.targets.masks
    resized, rescued = (None, 0) if masks is None else masks.resize_counted(size, antialias=antialias)
    sample = _moved(sample, image, boxes, resized, sample.known_geometry.resize(size))
    return dataclasses.replace(sample, rescued=sample.rescued + rescued)


def crop(sample: Sample, window: tuple[int, int, int, int], min_visibility: float = 0.0) -> Sample:
    """Crops to the window (x0, y0, x1, y1), in whole pixels inside the image.

    An object that the window cuts gets the box of its remaining mask, or its clipped box if it has no mask. Objects that
    keep nothing, or less than ``min_visibility`` of their area, are removed: they are dropped, and ``sample.dropped``
    counts them. Crowd and ignore regions stay as long as a part of them is left; an ignore region is no object and is
    never counted. Of an image that is not read yet only the window is read, and only the objects that may be in it.
    """
    x0, y0, x1, y1 = window
    assert 0 <= x0 < x1 <= sample.image.shape[2] and 0 <= y0 < y1 <= sample.image.shape[1], (window, sample.image.shape)
    targets, others = sample.targets, 0
    if isinstance(targets, LazyTargets):
        targets, others = targets.read(window)
    cropped, before, remaining = cut_targets(targets, window)
    # This removes objects without an area before the crop too: nothing can be learnt from them.
    is_region = cropped.labels == ALL_CLASSES
    kept = stays(cropped, before, remaining, min_visibility)
    image = sample.image.read(window) if isinstance(sample.image, LazyImage) else sample.image[:, y0:y1, x0:x1]
    dropped = sample.dropped + others + int((~kept & ~is_region).sum())
    geometry = sample.known_geometry.crop(window)
    return dataclasses.replace(
        sample, image=image.contiguous(), targets=cropped[kept], dropped=dropped, geometry=geometry
    )


def pad(sample: Sample, size: tuple[int, int], fill: Fill = 0) -> Sample:
    """Pads the right and bottom with colour ``fill`` to ``size`` (H, W)."""
    height, width = sample.image.shape[1:]
    if (height, width) == size:
        return sample
    image = blank(size, fill, sample.image)
    image[:, :height, :width] = sample.image
    targets = place(sample.targets, size, 0, 0)
    return dataclasses.replace(sample, image=image, targets=targets, geometry=sample.known_geometry.pad(size))


def place(targets: Targets, size: tuple[int, int], x: int, y: int) -> Targets:
    """Moves targets to a larger image of ``size`` (H, W), with the corner at ``x``, ``y``."""
    masks = None if targets.masks is None else targets.masks.placed(size, x, y)
    return dataclasses.replace(targets, boxes=targets.boxes + torch.tensor([x, y, x, y]), masks=masks)


def affine(sample: Sample, matrix: torch.Tensor, size: tuple[int, int], fill: Fill = 0) -> Sample:
    """Applies an affine map with bilinear interpolation.

    Pixels from outside the image get the colour ``fill``.

    Boxes are those of the moved masks, which are tight; the bounding box of a rotated box has up to twice the object's
    area. Only an object without a mask gets that bounding box, clipped to the image. Objects outside of the image are
    removed and counted in ``dropped``. A mask in the image that would become empty keeps one pixel and is counted in
    ``rescued``.

    Args:
        sample: never changed in place.
        matrix: fp64 [2, 3], from old coordinates to new; see ``segkit.structures.affine``.
        size: (H, W) of the new image.
        fill: colour.
    """
    old = sample.image.shape[1:]
    origin = torch.zeros(1, 2, dtype=torch.float64)
    grid = sampling_grid(inverse(matrix), origin, size, origin, (old[0], old[1]))
    # Interpolating the difference from the fill colour, with 0 outside, blends the border with the fill colour.
    color = fill_color(fill, sample.image).float()
    moved = grid_sample((sample.image.float() - color)[None], grid, mode="bilinear", align_corners=False)[0]
    if sample.image.is_floating_point():
        image = moved.add_(color).clamp_(0, 1).to(sample.image.dtype)
    else:
        image = moved.add_(color).round_().clamp_(0, 255).to(sample.image.dtype)
    targets, masks, rescued = sample.targets, sample.targets.masks, 0
    limit = torch.tensor([size[1], size[0]] * 2)
    boxes = move_hulls(targets.boxes, matrix).float().clamp(min=0).minimum(limit)
    if masks is not None:
        masks, rescued = masks.affine(matrix, size)
        boxes = torch.where(targets.has_mask[:, None], masks.boxes(), boxes)
    kept = box_areas(boxes) > 0
    dropped = sample.dropped + int((~kept & (targets.labels != ALL_CLASSES)).sum())
    rescued += sample.rescued
    targets = dataclasses.replace(targets, boxes=boxes, masks=masks)[kept]
    geometry = sample.known_geometry.not_invertible("an affine map", size)
    return dataclasses.replace(
        sample, image=image, targets=targets, dropped=dropped, rescued=rescued, geometry=geometry
    )


def paste(sample: Sample, image: torch.Tensor, objects: Targets, min_visibility: float = 0.0) -> Sample:
    """Pastes the objects of another image over a sample.

    The sample's masks lose the covered pixels; objects whose masks changed get the boxes of their remaining masks.
    Objects that keep nothing, or less than ``min_visibility`` of their area, are removed and counted in ``dropped``. For
    an object without a mask, the area of its box counts, and the box stays as it is.

    Args:
        sample: the sample below.
        image: the other image, of the same height and width as the sample's.
        objects: objects of that image, each with a mask.
        min_visibility: 0 to 1.
    """
    assert image.shape[1:] == sample.image.shape[1:] and objects.masks is not None, (image.shape, sample.image.shape)
    assert not objects.lacks_masks
    below_image, image = of_one_type([sample.image, image])
    # One array [H, W] for all pasted objects; each mask below reads it only within its own box.
    region = objects.masks.union()
    mixed = torch.where(region, image, below_image)
    below = sample.targets
    boxes, masks = below.boxes, below.masks
    is_region = below.labels == ALL_CLASSES
    least = torch.where(below.crowd, 0.0, min_visibility)  # a region stays as long as a part of it is left
    kept = below.has_mask.clone()
    kept[~below.has_mask] = _visible(boxes[~below.has_mask], region, least[~below.has_mask])
    if masks is not None:
        before = masks.areas()
        masks, cut = masks.without(region)  # does not change an object without a mask
        areas = masks.areas()
        boxes = torch.where(cut[:, None], masks.boxes(), boxes)
        kept &= ~cut | ((areas > 0) & (areas >= least * before))
    targets = Targets.cat([dataclasses.replace(below, boxes=boxes, masks=masks)[kept], objects])
    # Nothing of the other image is pasted but its objects, so that only the classes of this image are unlabelled.
    targets.unlabelled = below.unlabelled
    return dataclasses.replace(
        sample, image=mixed, targets=targets, dropped=sample.dropped + int((~kept & ~is_region).sum())
    )


def _visible(boxes: torch.Tensor, region: torch.Tensor, min_visibility: torch.Tensor) -> torch.Tensor:
    """bool [N]: which boxes are visible outside of a region.

    A box is visible if it has a pixel, and at least a share ``min_visibility`` [N], outside of ``region`` (bool [H, W]).
    """
    height, width = region.shape
    limit = torch.tensor([width, height, width, height])
    pixels = torch.cat([boxes[:, :2].floor(), boxes[:, 2:].ceil()], 1).clamp(min=0).minimum(limit).long()
    covered = [region[y0:y1, x0:x1].float().mean() for x0, y0, x1, y1 in pixels.tolist()]
    free = 1 - torch.stack(covered) if covered else boxes.new_zeros(0)
    # The share is NaN for a box outside of the image, which has no pixels.
    return torch.isnan(free) | ((free > 0) & (free >= min_visibility))


def check_fill(fill: Fill) -> None:
    """Raises a ValueError unless a colour is one value or a list of values, each 0 to 255."""
    values = [fill] if isinstance(fill, int) else list(fill)
    if not values or not all(0 <= value <= 255 for value in values):
        raise ValueError(f"fill: expected one value from 0 to 255, or one a channel; got {fill}")


def fill_color(fill: Fill, image: torch.Tensor) -> torch.Tensor:
    """A colour as [C, 1, 1], or [1, 1, 1] for one value, of the image's type.

    255 is 1 in a float image. Raises a SegkitError if C is not the image's.
    """
    values = [fill] if isinstance(fill, int) else list(fill)
    color = torch.tensor([v / 255 for v in values] if image.is_floating_point() else values, dtype=image.dtype)
    if len(color) not in (1, len(image)):
        raise SegkitError(
            f"fill: {len(color)} values for the {len(image)} channels of an image", key="fill", value=fill
        )
    return color[:, None, None]


def blank(size: tuple[int, int], fill: Fill, like: torch.Tensor) -> torch.Tensor:
    """An image [C, H, W] of one colour, with the channels of ``like``."""
    return fill_color(fill, like).repeat(len(like) if isinstance(fill, int) else 1, *size)


def of_one_type(images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Images [C, H_i, W_i] that are to be combined, of one type.

    All are float in 0..1 if one of them is. Raises a SegkitError if their numbers of channels differ.
    """
    if len({len(image) for image in images}) > 1:
        counts = " and ".join(map(str, sorted({len(image) for image in images})))
        raise SegkitError(f"images of {counts} channels cannot be combined; choose channels (data.channels)")
    if len({image.dtype for image in images}) == 1:
        return list(images)
    return [image if image.is_floating_point() else image.float() / 255 for image in images]


def without_degenerate(sample: Sample) -> Sample:
    """Removes objects whose box has no area or is not finite, and counts them in ``dropped``.

    Annotation files may hold such objects.
    """
    degenerate = sample.targets.degenerate()
    if not bool(degenerate.any()):
        return sample
    dropped = sample.dropped + int((degenerate & (sample.targets.labels != ALL_CLASSES)).sum())
    return dataclasses.replace(sample, targets=sample.targets[~degenerate], dropped=dropped)


def _moved(
    sample: Sample, image: torch.Tensor, boxes: torch.Tensor, masks: InstanceMasks | None, geometry: ImageGeometry
) -> Sample:
    """The sample with another image, boxes, masks and geometry."""
    targets = dataclasses.replace(sample.targets, boxes=boxes, masks=masks)
    return dataclasses.replace(sample, image=image, targets=targets, geometry=geometry)
