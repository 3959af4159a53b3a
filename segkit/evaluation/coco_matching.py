"""COCO's matching and curves by hotcoco, and average precision computed from the curves themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Literal

import numpy as np
import torch

from segkit.structures.masks import InstanceMasks

IouType = Literal["bbox", "segm"]
AREAS = ("all", "small", "medium", "large")
SCORE = 5  # column of an array of results: image, x, y, width, height, score, category
IOU_50, IOU_75 = 0, 5  # positions of 0.5 and 0.75 among COCO's ten thresholds 0.5, 0.55, ..., 0.95


@dataclass(frozen=True)
class Curves:
    """What COCO's accumulation gives; -1 where there is nothing to find.

    Attributes:
        precision: [10 IoU thresholds, 101 recalls, K classes, 4 areas, limits].
        recall: [10, K, 4, limits], the highest reached.
        limits: detections an image and class, ascending.
    """

    precision: np.ndarray
    recall: np.ndarray
    limits: tuple[int, ...]

    def ap(self, limit: int, *, iou: int | None = None, label: int | None = None, area: str = "all") -> float | None:
        """Mean precision over thresholds, recalls and classes; None where there is no ground truth.

        pycocotools' summary looks for a limit of 100 by its value and gives -1 where it is not among the limits; here
        every limit is named.
        """
        values = self.precision[..., AREAS.index(area), self.limits.index(limit)]
        values = values if iou is None else values[iou : iou + 1]
        return _mean(values if label is None else values[:, :, label])

    def ar(self, limit: int, *, label: int | None = None, area: str = "all") -> float | None:
        """Mean of the highest recalls over thresholds and classes."""
        values = self.recall[..., AREAS.index(area), self.limits.index(limit)]
        return _mean(values if label is None else values[:, label])


def _mean(values: np.ndarray) -> float | None:
    values = values[values > -1]
    return float(values.mean()) if values.size else None


@dataclass(frozen=True)
class EvaluatedImage:
    """One image's ground truth and N detections: arrays and strings, for a dict a detection is slow to keep.

    Attributes:
        size: (height, width).
        truth: objects with ``label``, ``bbox`` XYWH, ``area``, ``iscrowd`` and, for segm, ``segmentation``, None where the
            object has no mask.
        boxes: float64 [N, 4] XYWH, ties in their order.
        scores: [N].
        labels: int [N].
        masks: the ``counts`` of each detection's RLE; None where masks are not evaluated.
    """

    size: tuple[int, int]
    truth: Sequence[Mapping[str, Any]]
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: Sequence[str] | None

    def rles(self) -> list[dict[str, Any]]:
        """The detections' masks as COCO's RLE; empty where masks are not evaluated."""
        size = list(self.size)
        return [{"size": size, "counts": counts} for counts in self.masks or ()]


def lacks_mask(item: Mapping[str, Any]) -> bool:
    """Whether only the box of an object of the ground truth is known."""
    return item.get("segmentation") is None


def with_ignored_boxes(images: Sequence[EvaluatedImage]) -> list[EvaluatedImage]:
    """The images with each object that has no mask as a crowd region: all pixels of its box.

    A mask in such a region can be neither right nor wrong, and nothing is missed there.
    """
    ignored = []
    for image in images:
        boxes = np.array([item["bbox"] for item in image.truth if lacks_mask(item)], np.float64)
        if len(boxes):
            regions = iter(_box_rles(boxes, image.size))
            truth = [
                {**item, "iscrowd": 1, "segmentation": next(regions)} if lacks_mask(item) else item
                for item in image.truth
            ]
            image = replace(image, truth=truth)
        ignored.append(image)
    return ignored


def _box_rles(boxes: np.ndarray, size: tuple[int, int]) -> list[dict[str, Any]]:
    """All pixels that boxes [N, 4] XYWH touch, as RLE on an image of ``size`` (height, width)."""
    corners = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, :2] + boxes[:, 2:])], 1)
    crop_boxes = corners.clip(0, [size[1], size[0]] * 2).astype(np.int64)
    crop_boxes[(crop_boxes[:, 2:] <= crop_boxes[:, :2]).any(1)] = 0
    pixels = int((crop_boxes[:, 2:] - crop_boxes[:, :2]).prod(1).sum())
    return InstanceMasks(torch.ones(pixels, dtype=torch.uint8), torch.from_numpy(crop_boxes), size).to_rle()


def ground_truth(images: Sequence[EvaluatedImage], num_classes: int, *, masks: bool) -> Any:
    """hotcoco's data set of the images' objects, which serves all evaluations of them.

    Ids are positions here, so that files may have any: 0, negative, beyond 64 bits.

    Args:
        images: there must be an object in one of them.
        num_classes: K.
        masks: whether masks will be matched; every object has one then (see :func:`with_ignored_boxes`).
    """
    from hotcoco import COCO

    objects = [item for image in images for item in image.truth]
    sizes = [{"id": number, "height": image.size[0], "width": image.size[1]} for number, image in enumerate(images, 1)]
    categories = [{"id": label + 1, "name": str(label)} for label in range(num_classes)]
    return COCO.from_arrays(
        sizes,
        categories,
        _image_numbers([len(image.truth) for image in images]),
        np.array([item["label"] for item in objects], np.int64) + 1,
        np.array([item["bbox"] for item in objects], np.float64),
        area=np.array([item["area"] for item in objects], np.float64),
        iscrowd=np.array([item["iscrowd"] for item in objects], np.int64),
        segmentation=[item["segmentation"] for item in objects] if masks else None,
    )


def match(
    truth: Any,
    images: Sequence[EvaluatedImage],
    iou_type: IouType,
    limits: Sequence[int],
    score_threshold: float = 0.0,
) -> Curves:
    """Match detections with ground truth as COCO does.

    Args:
        truth: :func:`ground_truth` of the images.
        images: with the detections.
        iou_type: what overlaps: boxes or masks.
        limits: ascending numbers of detections an image and class.
        score_threshold: detections below are left out.
    """
    from hotcoco import COCOeval, mask

    # Results as one array, COCO's other form of them: a dict a detection takes longer to make than to match.
    rows = np.column_stack(
        [
            _image_numbers([len(image.scores) for image in images]),
            np.concatenate([image.boxes for image in images]),
            np.concatenate([image.scores for image in images]),
            np.concatenate([image.labels for image in images]) + 1,
        ]
    )  # float64 [N, 7]
    kept = rows[:, SCORE] >= score_threshold
    if iou_type == "bbox":
        found = truth.load_res(rows[kept])
    else:
        rles = list(compress((rle for image in images for rle in image.rles()), kept.tolist()))
        found = truth.load_res(rows[kept], segmentation=rles)
        # A detection's area decides whether an unmatched one counts as small, medium or large. Given a box, COCO's
        # tools take the box's area; for masks it is to be the mask's, as in Detectron2.
        found.update_anns(ids=np.arange(1, len(rles) + 1), area=mask.area(rles))
    evaluation = COCOeval(truth, found, iou_type)
    evaluation.params.max_dets = list(limits)
    evaluation.evaluate()
    evaluation.accumulate()
    curves = evaluation.eval
    assert curves is not None  # accumulate() fills it
    return Curves(np.asarray(curves["precision"]), np.asarray(curves["recall"]), tuple(limits))


def _image_numbers(counts: Sequence[int]) -> np.ndarray:
    """The number of its image, from 1 on, for each of the images' objects."""
    return np.repeat(np.arange(1, len(counts) + 1), counts)
