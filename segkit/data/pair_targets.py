"""Converts the target dictionary of a torchvision-style ``(image, target)`` pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from segkit.structures.targets import Targets
from segkit.structures.torchvision_targets import targets_from_torchvision
from segkit.utils.errors import SegkitError


def pair_targets(
    target: Mapping[str, Any], size: tuple[int, int], category_ids: Sequence[int]
) -> tuple[Targets, np.ndarray | None]:
    """The objects of a target as they are given, on the CPU, and the areas that it states.

    Args:
        target: see :func:`segkit.structures.targets_from_torchvision`.
        size: (H, W) of the image.
        category_ids: of each label.
    Returns:
        targets, and float64 [N], the target's ``area``; None if it has none.
    Raises:
        SegkitError: a key is missing or malformed, or the boxes are fractions of the image.
    """
    given = targets_from_torchvision(target, size, category_ids).to("cpu")
    areas = _areas(target, len(given))
    _check_not_normalized(given.boxes, size)
    return given, areas


def training_targets(given: Targets, size: tuple[int, int]) -> Targets:
    """The targets with the boxes of their masks; boxes without a mask are cut at the border.

    Args:
        given: as :func:`pair_targets` returns them.
        size: (H, W) of the image.
    """
    height, width = size
    boxes = given.boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    if given.masks is not None:
        boxes = torch.where(given.has_mask[:, None], given.masks.boxes(), boxes)
    return replace(given, boxes=boxes)


def check_image_id(target: Mapping[str, Any], expected: int) -> None:
    """Raises SegkitError if the target's ``image_id`` is not the image's id in results files."""
    value = target.get("image_id")
    if value is None:
        return
    try:
        found = int(torch.as_tensor(value).reshape(-1).squeeze(0))
    except (TypeError, ValueError, RuntimeError) as error:
        raise SegkitError(f"target['image_id'] is {value!r:.80}; expected one integer", key="image_id") from error
    if found != expected:
        raise SegkitError(
            f"target['image_id'] is {found}, but the data set numbers this image {expected}; give from_torchvision(..., "
            "image_ids=[...]) with the id of every image",
            key="image_id", value=found,
        )  # fmt: skip


def _areas(target: Mapping[str, Any], count: int) -> np.ndarray | None:
    """float64 [N], the target's areas."""
    if target.get("area") is None:
        return None
    try:
        areas = torch.as_tensor(target["area"]).detach().cpu().double().numpy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise SegkitError(
            f"target['area'] is {target['area']!r:.80}; expected a number for each object", key="area"
        ) from error
    if list(areas.shape) != [count]:
        raise SegkitError(f"target['area'] has the shape {list(areas.shape)}; expected [{count}]", key="area")
    return areas


def _check_not_normalized(boxes: torch.Tensor, size: tuple[int, int]) -> None:
    """Raises SegkitError if all boxes are fractions of the image, as YOLO's, not pixels."""
    inside = boxes.numel() > 0 and min(size) > 1 and bool(((boxes >= 0) & (boxes <= 1)).all())
    if inside and not bool((boxes == boxes.round()).all()):
        raise SegkitError(
            f"target['boxes'] are all between 0 and 1; boxes are in pixels: multiply x by {size[1]} and y by {size[0]}",
            key="boxes", value=boxes[0].tolist(),
        )  # fmt: skip
