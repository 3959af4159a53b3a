"""Cuts the objects of an image to a window."""

from __future__ import annotations

import dataclasses

import torch

from segkit.structures.targets import Targets


def stays(cut: Targets, before: torch.Tensor, remaining: torch.Tensor, min_visibility: float) -> torch.Tensor:
    """bool [N]: which objects are kept after a cut.

    An object needs a share of its area. A crowd or ignore region stays as long as a part of it is left, since nothing may
    be learnt there.

    Args:
        cut: the objects after the cut.
        before: [N], their areas before it.
        remaining: [N], their areas after it.
        min_visibility: the share, 0 to 1.
    """
    return (remaining > 0) & ((remaining >= min_visibility * before) | cut.crowd)


def cut_targets(targets: Targets, window: tuple[int, int, int, int]) -> tuple[Targets, torch.Tensor, torch.Tensor]:
    """The objects of an image cut to a window (x0, y0, x1, y1), in its pixels.

    Objects without a pixel in the window stay, with an empty mask or box.

    Returns:
        targets, and [N] the area of each object before and after: pixels of its mask, or the area of its box.
    """
    x0, y0, x1, y1 = window
    shifted = targets.boxes - torch.tensor([x0, y0, x0, y0])
    limit = torch.tensor([x1 - x0, y1 - y0] * 2)
    boxes = torch.minimum(shifted.clamp(min=0), limit)
    cut = (boxes != shifted).any(dim=1)
    before, remaining = box_areas(shifted), box_areas(boxes)
    masks, has_mask = targets.masks, targets.has_mask
    if masks is not None:
        before = torch.where(has_mask, masks.areas(), before)
        masks = masks.crop(x0, y0, x1, y1)
        remaining = torch.where(has_mask, masks.areas(), remaining)
        boxes = torch.where((cut & has_mask)[:, None], masks.boxes(), boxes)
    return dataclasses.replace(targets, boxes=boxes, masks=masks), before, remaining


def box_areas(boxes: torch.Tensor) -> torch.Tensor:
    """Areas [N] of XYXY boxes; 0 for those whose corners are exchanged."""
    return (boxes[:, 2] - boxes[:, 0]).clamp(min=0) * (boxes[:, 3] - boxes[:, 1]).clamp(min=0)
