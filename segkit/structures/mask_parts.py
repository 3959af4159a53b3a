"""Unites masks that are parts of one object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import arrays, pack


def unite_parts(masks: InstanceMasks, owners: Sequence[int], count: int) -> InstanceMasks:
    """The union of each object's parts.

    Args:
        masks: P parts.
        owners: index of each part's object.
        count: N; an object without parts has an empty mask.
    Returns:
        N masks.
    """
    parts: list[list[int]] = [[] for _ in range(count)]
    for part, owner in enumerate(owners):
        parts[owner].append(part)
    crops, boxes = arrays(masks.bits, masks.crop_boxes), masks.crop_boxes.tolist()
    united: list[np.ndarray] = []
    united_boxes: list[list[int]] = []
    for own in parts:
        own = [part for part in own if boxes[part][2] > boxes[part][0]]
        if len(own) <= 1:
            united.append(crops[own[0]] if own else np.zeros((0, 0), np.uint8))
            united_boxes.append(boxes[own[0]] if own else [0, 0, 0, 0])
            continue
        corners = np.array([boxes[part] for part in own])
        left, top = corners[:, :2].min(0).tolist()
        right, bottom = corners[:, 2:].max(0).tolist()
        together = np.zeros((bottom - top, right - left), np.uint8)
        for part in own:
            x0, y0, x1, y1 = boxes[part]
            together[y0 - top : y1 - top, x0 - left : x1 - left] |= crops[part]
        united.append(together)
        united_boxes.append([left, top, right, bottom])
    return InstanceMasks(pack(united), torch.tensor(united_boxes, dtype=torch.long).reshape(-1, 4), masks.image_size)
