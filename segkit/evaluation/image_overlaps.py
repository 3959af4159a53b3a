"""The overlaps of objects and detections: what metrics and errors are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segkit.evaluation.coco_matching import EvaluatedImage, IouType, with_ignored_boxes
from segkit.evaluation.overlaps import Overlaps, box_overlaps, mask_overlaps, shares_in
from segkit.evaluation.unannotated import with_crowds


@dataclass(frozen=True)
class ImageOverlaps:
    """M objects and N detections of one image, and every pair of them that overlaps.

    The two of a pair may differ in class.

    Masks are not kept, so that a data set of 1,000 images takes some tens of megabytes. Objects and detections refer to
    where they came from by position.

    Attributes:
        image_id: the file's id.
        size: (height, width) of the file.
        overlaps: pairs of masks, or of boxes, in pixels of the file.
        object_labels: int64 [M].
        object_boxes: float64 [M, 4] XYWH.
        object_areas: float64 [M], as annotated; they decide whether an object is small, medium or large.
        object_ids: int64 [M], position of each object in the image's ground truth; crowd and ignore regions are no objects.
        labels: int64 [N].
        scores: float64 [N].
        boxes: float64 [N, 4] XYWH.
        ignored_shares: float64 [N], 0..1: an unmatched detection counts neither way at the IoU thresholds up to it, because
            that share of it lies in regions where its class is not annotated.
        mask_boxes: float64 [N, 4] XYWH, boxes of the detections' masks; None if boxes are evaluated.
    """

    image_id: int
    size: tuple[int, int]
    overlaps: Overlaps
    object_labels: np.ndarray
    object_boxes: np.ndarray
    object_areas: np.ndarray
    object_ids: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    ignored_shares: np.ndarray
    mask_boxes: np.ndarray | None = None


@dataclass(frozen=True)
class DatasetOverlaps:
    """The overlaps of all images of an evaluation.

    Attributes:
        images: in the order of their ids, which decides between equal scores.
        classes: name of each label; ``["object"]`` for class-agnostic detections.
        iou_type: whether masks (``segm``) or boxes (``bbox``) overlap.
        max_detections: the model's limit of detections per image.
    """

    images: Sequence[ImageOverlaps]
    classes: Sequence[str]
    iou_type: IouType
    max_detections: int


def image_overlaps(image_id: int, image: EvaluatedImage, iou_type: IouType) -> ImageOverlaps:
    """Computes the overlaps of one image.

    Objects without a mask are regions where detections are ignored for ``segm``, as in the COCO evaluator.
    """
    positions = [i for i, item in enumerate(image.truth) if not _is_ignored(item, iou_type)]
    objects = [image.truth[i] for i in positions]
    object_boxes = np.array([item["bbox"] for item in objects], np.float64).reshape(-1, 4)
    boxes = np.asarray(image.boxes, np.float64).reshape(-1, 4)
    if iou_type == "segm":
        rles = image.rles()
        overlaps = mask_overlaps([item["segmentation"] for item in objects], rles)
    else:
        rles = []
        overlaps = box_overlaps(object_boxes, boxes)
    return ImageOverlaps(
        image_id,
        image.size,
        overlaps,
        np.array([item["label"] for item in objects], np.int64),
        object_boxes,
        np.array([item["area"] for item in objects], np.float64),
        np.array(positions, np.int64),
        np.asarray(image.labels, np.int64),
        np.asarray(image.scores, np.float64),
        boxes,
        _ignored_shares(image, rles, iou_type),
        _mask_boxes(rles) if iou_type == "segm" else None,
    )


def _mask_boxes(rles: Sequence[Any]) -> np.ndarray:
    from pycocotools import mask as mask_api

    return np.asarray(mask_api.toBbox(list(rles)), np.float64).reshape(-1, 4)


def _is_ignored(item: Mapping[str, Any], iou_type: IouType) -> bool:
    return bool(item["iscrowd"]) or (iou_type == "segm" and item.get("segmentation") is None)


def _ignored_shares(image: EvaluatedImage, rles: Sequence[Any], iou_type: IouType) -> np.ndarray:
    """The share of each detection in the crowd regions of its class and in ignore regions: float64 [N]."""
    shares = np.zeros(len(image.scores))
    if not len(shares) or not (len(image.unlabelled) or any(_is_ignored(item, iou_type) for item in image.truth)):
        return shares
    [masked] = with_ignored_boxes([image]) if iou_type == "segm" else [image]
    [expressed] = with_crowds([replace(masked, unlabelled=())], iou_type)
    shares[np.isin(image.labels, np.asarray(image.unlabelled, np.int64))] = 1.0
    if expressed.region_shares is not None:
        shares = np.maximum(shares, expressed.region_shares)
    for label in np.unique(image.labels):
        regions = [item for item in expressed.truth if item["iscrowd"] and item["label"] == label]
        own = np.flatnonzero(image.labels == label)
        for region in regions:
            if iou_type == "segm":
                inside = shares_in([region["segmentation"]], [rles[i] for i in own.tolist()])
            else:
                crowd = np.asarray(region["bbox"], np.float64)[None]
                boxes = np.asarray(image.boxes, np.float64)[own]
                common = box_overlaps(crowd, boxes)
                inside = np.zeros(len(own))
                inside[common.detections] = common.intersections / common.detection_areas[common.detections]
            shares[own] = np.maximum(shares[own], inside)
    return shares
