"""Detections in ignore regions, and of classes that are not annotated everywhere.

They count neither way. COCO's tools know one such rule, that of a class's crowd regions, and the rest is expressed by it:

- the ignore regions of an image are one crowd region of every class, their union;
- an unmatched detection of an unlabelled class counts neither way (LVIS, Gupta et al. 2019, section 3.3), which is the
  rule of a crowd region as large as the image. It covers both of LVIS's cases: of a class that is neither annotated in an
  image nor known to be absent all detections are unmatched.

For boxes, COCO's tools take a crowd region as its box. The part of an image outside of an annotated region usually has the
whole image as its box, so the share of a detection's box inside the union of the masks counts instead. A region may also be
a single object, which fills little of its own box, so a detection's IoU with that box counts too. These are the rules of
training (:func:`segkit.modeling.layers.matching.match_targets`), at COCO's IoU thresholds instead of a half. In both, an ignore
region without a mask counts as its box, each by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou, clip_boxes_to_image

from segkit.evaluation.coco_matching import COCO_AREAS, AreaRanges, Curves, EvaluatedImage, IouType, lacks_mask
from segkit.evaluation.precision import COCO_IOUS, RECALLS, interpolated_precision
from segkit.structures.area_table import AreaTable
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import ALL_CLASSES


def is_region(item: Mapping[str, Any]) -> bool:
    """Whether an object of the ground truth is an ignore region."""
    return item["label"] == ALL_CLASSES


def has_unannotated(images: Sequence[EvaluatedImage]) -> bool:
    """Whether there are ignore regions or unlabelled classes."""
    return any(len(image.unlabelled) or ALL_CLASSES in [item["label"] for item in image.truth] for image in images)


def with_crowds(images: Sequence[EvaluatedImage], iou_type: IouType) -> list[EvaluatedImage]:
    """Returns the images with crowd regions in place of ignore regions and unlabelled classes.

    A class gets those that its detections in the image need; others change no metric.

    Args:
        images: for ``segm`` every object of theirs has a mask.
        iou_type: for ``bbox``, ignore regions with a mask become the ``region_shares`` of the result.
    """
    return [_with_crowds(image, iou_type) for image in images]


def _with_crowds(image: EvaluatedImage, iou_type: IouType) -> EvaluatedImage:
    regions = [item for item in image.truth if is_region(item)]
    if not regions and not len(image.unlabelled):
        return image
    image = _without_empty(image, iou_type) if len(image.unlabelled) else image
    masked = [item for item in regions if not lacks_mask(item)]
    crowds = [item for item in regions if lacks_mask(item)]
    shares = None
    if masked and iou_type == "bbox":
        shares = _shares(image, masked)
    elif masked:
        crowds.append(masked[0] if len(masked) == 1 else _crowd(_union(_masks(image, masked))))
    found = np.unique(image.labels).tolist()
    added = [{**item, "label": label} for label in found for item in crowds]
    unlabelled = set(found) & {int(label) for label in image.unlabelled}
    if unlabelled:
        whole = _whole_image(image)
        added += [{**whole, "label": label} for label in sorted(unlabelled)]
    truth = [item for item in image.truth if not is_region(item)]
    return replace(image, truth=[*truth, *added], region_shares=shares)


def _shares(image: EvaluatedImage, regions: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """How far each detection is in the regions, which have masks: float64 [N].

    That is the share of its box's part in the image inside their union, or its IoU with one of their boxes if that is larger.
    """
    masks = _masks(image, regions)
    union = _union(masks)
    xywh = torch.from_numpy(image.boxes)
    boxes = clip_boxes_to_image(torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1), image.size)
    [crop], [corners] = union.crops(), union.crop_boxes
    inside = AreaTable(crop != 0).areas(boxes - corners[:2].repeat(2))  # of the crop, not of the whole image
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1).clamp(min=1e-9)
    return torch.maximum(inside.double() / areas, box_iou(boxes, masks.boxes().double()).amax(1)).numpy()


def _masks(image: EvaluatedImage, items: Sequence[Mapping[str, Any]]) -> InstanceMasks:
    return InstanceMasks.from_rle([item["segmentation"] for item in items], image.size)


def _union(masks: InstanceMasks) -> InstanceMasks:
    """One mask of all pixels that any mask covers."""
    return InstanceMasks.from_dense(masks.union()[None])


def _without_empty(image: EvaluatedImage, iou_type: IouType) -> EvaluatedImage:
    """The image without empty detections of unlabelled classes, which lie in no region."""
    empty = (image.boxes[:, 2:] <= 0).any(axis=1)
    if iou_type == "segm":
        [nothing] = InstanceMasks.empty(image.size, 1).to_rle()
        empty = np.array([counts == nothing["counts"] for counts in image.masks or ()], bool)
    kept = ~(empty & np.isin(image.labels, np.asarray(image.unlabelled)))
    if kept.all():
        return image
    masks = None if image.masks is None else [m for m, keep in zip(image.masks, kept, strict=True) if keep]
    return replace(image, boxes=image.boxes[kept], scores=image.scores[kept], labels=image.labels[kept], masks=masks)


def _whole_image(image: EvaluatedImage) -> dict[str, Any]:
    """A crowd region that covers the image and all boxes of its detections."""
    height, width = image.size
    low = np.minimum(image.boxes[:, :2].min(axis=0), 0)
    high = np.maximum((image.boxes[:, :2] + image.boxes[:, 2:]).max(axis=0), [width, height])
    full = torch.ones(height * width, dtype=torch.uint8)
    crowd = _crowd(InstanceMasks(full, torch.tensor([[0, 0, width, height]]), image.size))
    return {**crowd, "bbox": [*low.tolist(), *(high - low).tolist()]}


def _crowd(mask: InstanceMasks) -> dict[str, Any]:
    """A crowd region of one mask, without its label."""
    [x0, y0, x1, y1] = mask.crop_boxes[0].tolist()
    [rle] = mask.to_rle()
    return {"bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": rle, "area": float(mask.bits.sum()), "iscrowd": 1}


def accumulate(
    entries: Sequence[Mapping[str, Any] | None],
    shares: np.ndarray,
    num_classes: int,
    max_dets: Sequence[int],
    ious: np.ndarray = COCO_IOUS,
    areas: AreaRanges = COCO_AREAS,
) -> Curves:
    """Accumulates precision and recall as COCO's tools do, with regions given as shares.

    An unmatched detection is ignored at each IoU threshold that its share reaches.

    Args:
        entries: ``evalImgs`` of pycocotools or hotcoco, with category, image and detection ids counted from 1.
        shares: [N] largest share of each detection in a region.
        num_classes: K.
        max_dets: numbers of detections per image and class, ascending.
        ious: IoU thresholds of the entries.
        areas: the ranges of areas of the entries.
    """
    precision = -np.ones((len(ious), len(RECALLS), num_classes, len(areas), len(max_dets)))
    recall = -np.ones((len(ious), num_classes, len(areas), len(max_dets)))
    limits = [(float(low), float(high)) for low, high in areas.values()]
    by_kind: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for entry in entries:
        if entry is not None:
            low, high = map(float, entry["aRng"])
            by_kind.setdefault((entry["category_id"] - 1, limits.index((low, high))), []).append(entry)
    for (label, area), group in by_kind.items():
        group.sort(key=lambda entry: entry["image_id"])
        objects = sum(int((~np.asarray(entry["gtIgnore"], bool)).sum()) for entry in group)
        for m, limit in enumerate(max_dets) if objects else ():
            precision[:, :, label, area, m], recall[:, label, area, m] = _curve(group, shares, limit, objects, ious)
    return Curves(precision, recall, tuple(max_dets), tuple(areas))


def _curve(
    group: Sequence[Mapping[str, Any]], shares: np.ndarray, limit: int, objects: int, ious: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Precision [T, 101] and recall [T] of one class and range of areas."""
    scores = np.concatenate([np.asarray(entry["dtScores"], np.float64)[:limit] for entry in group])
    order = np.argsort(-scores, kind="mergesort")

    def joined(key: str) -> np.ndarray:
        rows = [np.asarray(entry[key]).reshape(len(ious), -1)[:, :limit] != 0 for entry in group]
        return np.concatenate(rows, axis=1)[:, order]

    ids = np.concatenate([np.asarray(entry["dtIds"], np.int64)[:limit] for entry in group])[order]
    matched, ignored = joined("dtMatches"), joined("dtIgnore")
    ignored |= ~matched & (shares[ids - 1] >= ious[:, None])
    precision, recall = np.zeros((len(ious), len(RECALLS))), np.zeros(len(ious))
    for t in range(len(ious)):
        counted = ~ignored[t]
        precision[t], recall[t] = interpolated_precision(matched[t] & counted, ~matched[t] & counted, objects)
    return precision, recall
