"""torchvision's dictionaries of targets and detections, to segkit's structures and back.

torchvision counts labels from 1 (0 is the background), segkit from 0. Where the labels in the dictionaries have gaps, as
COCO's 1 to 90, ``category_ids`` holds the label of each class.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.errors import SegkitError, nearest

REQUIRED = ("boxes", "labels")
OPTIONAL = ("masks", "iscrowd", "has_mask", "area", "image_id")
MISTYPED = ("masks", "iscrowd", "has_mask")  # a mistyped one would silently change the training
BOX_FORMATS = ("XYXY", "XYWH", "CXCYWH")


def targets_from_torchvision(
    target: Mapping[str, Any], size: tuple[int, int], category_ids: Sequence[int] | None = None
) -> Targets:
    """Converts torchvision's target dictionary of one image; boxes and masks stay unchanged.

    What the keys hold are tensors, tv_tensors, numpy arrays or lists. Other keys than these are not read. A dictionary of
    ``image_id`` alone is that of an image without objects, as torchvision's ``wrap_dataset_for_transforms_v2`` makes it.

    Args:
        target: ``boxes`` [N, 4], XYXY in pixels (tv_tensors' ``BoundingBoxes`` in any unrotated format); ``labels`` [N],
            from 1; optional ``masks`` [N, H, W] of whole numbers, 0 outside the object; ``iscrowd`` [N]; ``has_mask`` [N],
            False for an object of which only the box is known. An image without objects may have boxes of the shape [0].
        size: (H, W) of the image.
        category_ids: the label in ``target`` of each class; None: 1, 2, ...
    Raises:
        SegkitError: a key is missing, or a value has another shape, dtype or range; the message names the key.
    """
    if isinstance(target, Mapping) and target and not target.keys() - {"image_id"}:
        return Targets.empty(size)
    _check_keys(target)
    boxes = _boxes(target["boxes"], size)
    count = len(boxes)
    labels = _labels(target["labels"], count, category_ids)
    masks = None if target.get("masks") is None else _masks(target["masks"], count, size)
    crowd = _flags(target.get("iscrowd"), torch.zeros(count, dtype=torch.bool, device=boxes.device), "iscrowd")
    has_mask = _flags(target.get("has_mask"), torch.ones(count, dtype=torch.bool, device=boxes.device), "has_mask")
    return Targets(boxes, labels, masks, crowd, has_mask)


def targets_to_torchvision(targets: Targets, category_ids: Sequence[int] | None = None) -> dict[str, Tensor]:
    """Converts one image's targets to torchvision's dictionary, on their device.

    :func:`targets_from_torchvision` inverts it. torchvision has no ignore regions, so these are skipped.

    Args:
        targets: of one image.
        category_ids: the label of each class; None: 1, 2, ...
    Returns:
        ``boxes`` float32 [N, 4] XYXY, ``labels`` int64 [N], ``iscrowd`` int64 [N], ``area`` float32 [N] (of the mask,
        else of the box). If there are masks, also ``masks`` uint8 [N, H, W]; and ``has_mask`` bool [N] if some
        objects have no mask.
    """
    if targets.has_crowd:
        targets = targets[targets.labels != ALL_CLASSES]
    boxes, masks = targets.boxes, targets.masks
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    result = {
        "boxes": boxes,
        "labels": _to_category_ids(targets.labels, category_ids),
        "iscrowd": targets.crowd.long(),
    }
    if masks is not None:
        area = torch.where(targets.has_mask, masks.areas().to(area), area)
        result["masks"] = masks.to_dense().to(torch.uint8)
        if not bool(targets.has_mask.all()):
            result["has_mask"] = targets.has_mask
    return {**result, "area": area}


def detections_to_torchvision(detections: Detections, category_ids: Sequence[int] | None = None) -> dict[str, Tensor]:
    """Converts one image's detections to torchvision's dictionary, on their device.

    Args:
        detections: of one image.
        category_ids: the label of each class; None: 1, 2, ...
    Returns:
        ``boxes`` [N, 4] XYXY, ``labels`` int64 [N], ``scores`` [N], and of a model with masks ``masks`` float32
        [N, 1, H, W] of 0 and 1, at the detections' size.
    """
    result = {
        "boxes": detections.boxes,
        "labels": _to_category_ids(detections.labels, category_ids),
        "scores": detections.scores,
    }
    if (masks := detections.masks) is not None:
        result["masks"] = masks.to_dense()[:, None].float()
    return result


def detections_from_torchvision(
    found: Mapping[str, Any],
    size: tuple[int, int],
    category_ids: Sequence[int] | None = None,
    *,
    mask_threshold: float = 0.5,
) -> Detections:
    """Converts the dictionary that a torchvision model returns for one image to detections.

    Args:
        found: ``boxes`` [N, 4] XYXY in pixels, ``labels`` [N] from 1, ``scores`` [N], optional ``masks`` [N, 1, H, W] or
            [N, H, W]: probabilities, or bool.
        size: (H, W) of the image.
        category_ids: the label in ``found`` of each class; None: 1, 2, ...
        mask_threshold: pixels of at least this probability belong to the object.
    Raises:
        SegkitError: a key is missing, or a value has another shape, dtype or range; the message names the key.
    """
    _check_keys(found, ("boxes", "labels", "scores"), "dictionary of detections")
    boxes = _boxes(found["boxes"], size)
    labels = _labels(found["labels"], len(boxes), category_ids)
    scores = _tensor(found["scores"], "scores").float()
    _check_shape(scores, [len(boxes)], "scores")
    if found.get("masks") is None:
        return Detections(boxes, scores, labels, None, size)
    masks = _tensor(found["masks"], "masks")
    if masks.dim() == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.is_floating_point():
        masks = masks >= mask_threshold
    return Detections.from_masks(_masks(masks, len(boxes), size), scores, labels, boxes)


def _check_keys(target: Any, required: Sequence[str] = REQUIRED, what: str = "target") -> None:
    """Raises SegkitError if a required key is missing, or an optional one is there under a mistyped name."""
    if not isinstance(target, Mapping):
        raise SegkitError(
            f"the {what} is a {type(target).__name__}; expected a dictionary with {', '.join(required)}", key="target"
        )
    others = [key for key in target if isinstance(key, str) and key not in (*required, *OPTIONAL)]
    for key in required:
        if key not in target:
            near = nearest(key, others, 1) or [o for o in others if key.startswith("box") and "box" in o.lower()][:1]
            hint = (
                f"; did you mean its '{near[0]}'?" if near else f"; it has {', '.join(map(str, target)) or 'no keys'}"
            )
            raise SegkitError(f"the {what} has no '{key}'{hint}", key=key, choices=required)
    for key in others:
        meant = difflib.get_close_matches(key.lower(), MISTYPED, n=1, cutoff=0.8)
        if meant and meant[0] not in target:
            raise SegkitError(
                f"the {what} has '{key}', which is not read; did you mean '{meant[0]}'? Rename it, or remove it",
                key=meant[0], value=key,
            )  # fmt: skip


def _tensor(value: Any, key: str) -> Tensor:
    """Converts a key's value to a plain tensor."""
    if isinstance(value, Tensor):
        return value.detach().as_subclass(Tensor)
    if isinstance(value, (np.ndarray, list, tuple)):
        try:
            return torch.as_tensor(np.asarray(value) if isinstance(value, np.ndarray) else value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise SegkitError(f"target['{key}'] cannot be read as an array ({error})", key=key) from error
    raise SegkitError(f"target['{key}'] is a {type(value).__name__}; expected a tensor", key=key, value=value)


def _check_shape(value: Tensor, expected: Sequence[object], key: str) -> None:
    if list(value.shape) != list(expected):
        shown = ", ".join(map(str, expected))
        raise SegkitError(
            f"target['{key}'] has the shape {list(value.shape)}; expected [{shown}]", key=key, value=tuple(value.shape)
        )


def _boxes(value: Any, size: tuple[int, int]) -> Tensor:
    """float32 [N, 4] XYXY."""
    boxes = _tensor(value, "boxes")
    if boxes.shape[:1] == (0,):
        return torch.zeros(0, 4, device=boxes.device)
    if boxes.dim() != 2 or boxes.shape[1] != 4 or boxes.dtype == torch.bool or boxes.is_complex():
        raise SegkitError(
            f"target['boxes'] is {boxes.dtype} of the shape {list(boxes.shape)}; expected [N, 4], XYXY in pixels",
            key="boxes", value=tuple(boxes.shape),
        )  # fmt: skip
    boxes = boxes.float()
    box_image_size = getattr(value, "canvas_size", None)  # of tv_tensors
    if box_image_size is not None and tuple(box_image_size) != tuple(size):
        raise SegkitError(
            f"target['boxes'] has the canvas_size {tuple(box_image_size)}; the image's height and width are {tuple(size)}",
            key="boxes", value=tuple(box_image_size),
        )  # fmt: skip
    box_format = getattr(getattr(value, "format", None), "value", "XYXY")
    if box_format not in BOX_FORMATS:
        raise SegkitError(
            f"target['boxes'] has the format {box_format}; expected {', '.join(BOX_FORMATS)}",
            key="boxes", value=box_format, choices=BOX_FORMATS,
        )  # fmt: skip
    if box_format != "XYXY":
        from torchvision.ops import box_convert

        boxes = box_convert(boxes, box_format.lower(), "xyxy")
    bad = ~(torch.isfinite(boxes).all(1) & (boxes[:, 2:] >= boxes[:, :2]).all(1))
    if bool(bad.any()):
        i = int(bad.nonzero()[0, 0])
        raise SegkitError(
            f"target['boxes'][{i}] is {[round(v, 2) for v in boxes[i].tolist()]}; boxes are XYXY, x1 <= x2 and y1 <= y2 "
            "(torchvision.ops.box_convert changes XYWH into it)",
            key="boxes", value=boxes[i].tolist(),
        )  # fmt: skip
    return boxes


def _labels(value: Any, count: int, category_ids: Sequence[int] | None) -> Tensor:
    """int64 [N], 0-based classes."""
    labels = _tensor(value, "labels")
    _check_shape(labels, [count], "labels")
    if count == 0:
        return labels.long()
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise SegkitError(f"target['labels'] is {labels.dtype}; expected integers", key="labels", value=labels.dtype)
    labels = labels.long()
    known = None if category_ids is None else torch.tensor(list(category_ids), device=labels.device)
    bad = (labels < 1) if known is None else ~torch.isin(labels, known)
    if bool(bad.any()):
        i = int(bad.nonzero()[0, 0])
        label = int(labels[i])
        expected = "from 1 on" if category_ids is None else _shown_ids(category_ids)
        background = "; torchvision's 0 is the background, which is no object" if label == 0 else ""
        raise SegkitError(
            f"target['labels'][{i}] is {label}; expected {expected}{background}", key="labels", value=label
        )
    if known is None:
        return labels - 1
    return (labels[:, None] == known).long().argmax(1)


def _shown_ids(category_ids: Sequence[int]) -> str:
    ids = list(category_ids)
    if ids == [1]:
        return "1 (there is one class)"
    if ids == list(range(1, len(ids) + 1)):
        return f"1 to {len(ids)} (there are {len(ids)} classes)"
    return "one of " + ", ".join(map(str, ids[:20])) + (", ..." if len(ids) > 20 else "")


def _to_category_ids(labels: Tensor, category_ids: Sequence[int] | None) -> Tensor:
    if category_ids is None:
        return labels + 1
    return torch.tensor(list(category_ids), dtype=torch.long, device=labels.device)[labels]


def _masks(value: Any, count: int, size: tuple[int, int]) -> InstanceMasks:
    masks = _tensor(value, "masks")
    if masks.shape[:1] == (0,) and count == 0:
        return InstanceMasks.empty(size, device=masks.device)
    if masks.dim() != 3:
        hint = "; take masks[:, 0]" if masks.dim() == 4 and masks.shape[1] == 1 else ""
        raise SegkitError(
            f"target['masks'] has the shape {list(masks.shape)}; expected [N, H, W], one mask an object{hint}",
            key="masks", value=tuple(masks.shape),
        )  # fmt: skip
    if tuple(masks.shape[1:]) != tuple(size):
        raise SegkitError(
            f"target['masks'] are {masks.shape[1]} x {masks.shape[2]} pixels large, the image is {size[0]} x {size[1]}",
            key="masks", value=tuple(masks.shape),
        )  # fmt: skip
    if len(masks) != count:
        raise SegkitError(f"target['masks'] has {len(masks)} masks for {count} boxes", key="masks", value=len(masks))
    if masks.is_floating_point() and not bool((masks == masks.trunc()).all()):  # NaN too
        raise SegkitError(
            "target['masks'] has values between 0 and 1, or NaN; expected 0 where the object is not, and 1 where it is "
            "(masks > 0.5 makes them of probabilities)",
            key="masks",
        )
    return InstanceMasks.from_dense(masks)


def _flags(value: Any, default: Tensor, key: str) -> Tensor:
    """bool [N]; ``default`` if the key is missing."""
    if value is None:
        return default
    flags = _tensor(value, key)
    _check_shape(flags, list(default.shape), key)
    return flags.bool()
