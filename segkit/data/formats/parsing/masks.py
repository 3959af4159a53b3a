"""Masks and targets of annotations: polygons with holes, RLE, and boxes, mixed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import arrays, pack, tighten
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError


def decode_masks(segmentations: list, size: tuple[int, int]) -> InstanceMasks:
    """Converts polygon lists, RLE dicts and None (an empty mask), mixed, to masks.

    Args:
        segmentations: one an object.
        size: (H, W) of the image.
    Raises:
        SegkitError: an invalid segmentation, named as ``objects[i]``.
    """
    rles = [i for i, s in enumerate(segmentations) if isinstance(s, dict)]
    missing = [i for i, s in enumerate(segmentations) if s is None]
    polygons = [i for i, s in enumerate(segmentations) if s is not None and not isinstance(s, dict)]
    parts = [InstanceMasks.empty(size, len(missing))] if missing or not segmentations else []
    for indices, decode in ((rles, InstanceMasks.from_rle), (polygons, InstanceMasks.from_polygons)):
        if not indices:
            continue
        try:
            parts.append(decode([segmentations[i] for i in indices], size))
        except SegkitError as error:
            raise SegkitError(_with_indices(str(error), indices)) from error
    if len(parts) == 1:  # most images have one kind: they are in order already
        return parts[0]
    return InstanceMasks.cat(parts)[torch.tensor(missing + rles + polygons).argsort()]


def _with_indices(message: str, indices: list[int]) -> str:
    """Replaces ``objects[i]`` in a message about some of the objects by ``objects[indices[i]]``."""
    return re.sub(r"objects\[(\d+)\]", lambda found: f"objects[{indices[int(found[1])]}]", message)


def annotated_targets(
    masks: InstanceMasks, segmentations: Sequence[Any], corners: np.ndarray, labels: torch.Tensor, crowd: torch.Tensor
) -> Targets:
    """Targets of annotations whose masks are decoded.

    An object has the box of its mask; without a mask it has the annotated box, clipped to the image.

    Args:
        masks: of N objects; empty for those without a mask.
        segmentations: N annotations; None: the object has no mask.
        corners: float64 [N, 4], the annotated boxes XYXY; read for objects without a mask only.
        labels: int64 [N].
        crowd: bool [N].
    """
    has_mask = torch.tensor([segmentation is not None for segmentation in segmentations], dtype=torch.bool)
    height, width = masks.image_size
    inside = torch.from_numpy(corners).clamp(min=0).minimum(torch.tensor([width, height, width, height])).float()
    boxes = torch.where(has_mask[:, None], masks.boxes(), inside)
    return Targets(boxes, labels, None if len(boxes) and not has_mask.any() else masks, crowd, has_mask)


def subtract_holes(masks: InstanceMasks, holes: Sequence[Sequence[Sequence[float]]]) -> InstanceMasks:
    """Masks without the pixels of their holes.

    Args:
        masks: of N objects.
        holes: the polygons of each object's holes, rasterised as those of the objects are.
    """
    with_holes = [i for i, polygons in enumerate(holes) if polygons]
    if not with_holes:
        return masks
    cut = InstanceMasks.from_polygons([holes[i] for i in with_holes], masks.image_size)
    crops, crop_boxes = arrays(masks.bits, masks.crop_boxes), masks.crop_boxes.tolist()
    for i, hole, (hx0, hy0, hx1, hy1) in zip(
        with_holes, arrays(cut.bits, cut.crop_boxes), cut.crop_boxes.tolist(), strict=True
    ):
        x0, y0, x1, y1 = crop_boxes[i]
        left, top, right, bottom = max(x0, hx0), max(y0, hy0), min(x1, hx1), min(y1, hy1)
        if right > left and bottom > top:
            crop = crops[i].copy()
            crop[top - y0 : bottom - y0, left - x0 : right - x0] &= (
                1 - hole[top - hy0 : bottom - hy0, left - hx0 : right - hx0]
            )
            crops[i] = crop
    # A hole that reaches the border of its object, or covers it, shrinks the crop.
    crops, tight_boxes = tighten(crops, masks.crop_boxes, with_holes)
    return InstanceMasks(pack(crops), tight_boxes, masks.image_size)
