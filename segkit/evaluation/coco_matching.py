"""The interface of COCO matching: objects and detections in, precision curves out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from segkit.evaluation.precision import COCO_IOUS
from segkit.evaluation.results import xywh
from segkit.structures.masks import InstanceMasks
from segkit.structures.score_thresholds import reaches
from segkit.structures.targets import ALL_CLASSES

if TYPE_CHECKING:
    from segkit.structures.detections import Detections

IouType = Literal["bbox", "segm"]
AreaRanges = Mapping[str, tuple[float, float]]  # smallest and largest area in pixels, both included, by name
LARGEST_AREA = 1e10  # COCO's; it stands for no limit
COCO_AREAS: AreaRanges = {
    "all": (0.0, LARGEST_AREA),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, LARGEST_AREA),
}


@dataclass(frozen=True)
class Curves:
    """The arrays of COCO's accumulation; -1 where there is no ground truth.

    Attributes:
        precision: [IoU thresholds, 101 recalls, K classes, areas, max_dets].
        recall: [IoU thresholds, K classes, areas, max_dets], the highest that is reached.
        max_dets: numbers of detections per image and class, ascending.
        areas: names of the ranges of areas.
    """

    precision: np.ndarray
    recall: np.ndarray
    max_dets: tuple[int, ...]
    areas: tuple[str, ...] = tuple(COCO_AREAS)

    def ap(self, limit: int, *, iou: int | None = None, label: int | None = None, area: str = "all") -> float | None:
        """Returns mean precision over thresholds, recalls, classes; None without ground truth.

        pycocotools' own summary reports -1 for AP unless 100 is among the max_dets; here every limit has its AP.
        """
        values = self.precision[..., self.areas.index(area), self.max_dets.index(limit)]
        values = values if iou is None else values[iou : iou + 1]
        return _mean(values if label is None else values[:, :, label])

    def ar(self, limit: int, *, label: int | None = None, area: str = "all") -> float | None:
        """Returns mean highest recall over thresholds, classes; None without ground truth."""
        values = self.recall[..., self.areas.index(area), self.max_dets.index(limit)]
        return _mean(values if label is None else values[:, label])


def _mean(values: np.ndarray) -> float | None:
    values = values[values > -1]
    return float(values.mean()) if values.size else None


@dataclass(frozen=True)
class EvaluatedImage:
    """One image's ground truth and its N detections, as arrays for speed.

    Attributes:
        size: (height, width).
        truth: objects with ``label``, ``bbox`` XYWH, ``area``, ``iscrowd`` and, for segm, ``segmentation``, which is
            None for an object without a mask.
        boxes: float64 [N, 4] XYWH; detections of equal scores count in this order.
        scores: [N].
        labels: int [N].
        masks: the ``counts`` of each detection's RLE; None if masks are not evaluated.
        unlabelled: classes of which an unmatched detection counts neither way, because they are not annotated everywhere.
        region_shares: [N] how far each detection's box is in the ignore regions with a mask, 0 to 1; None without such
            regions. An unmatched detection is ignored at the IoU thresholds that its share reaches.
    """

    size: tuple[int, int]
    truth: Sequence[Mapping[str, Any]]
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: Sequence[str] | None
    unlabelled: Sequence[int] = ()
    region_shares: np.ndarray | None = None

    @classmethod
    def of(
        cls, truth: Sequence[Mapping[str, Any]], found: Detections, unlabelled: Sequence[int] = (), *, masks: bool
    ) -> EvaluatedImage:
        """Collects the arrays of one image.

        Args:
            truth: its ground truth.
            found: its detections, in the file's pixels, on any device.
            unlabelled: classes that are not annotated everywhere in it.
            masks: whether to encode the detections' masks.
        """
        return cls(
            size=(int(found.size[0]), int(found.size[1])),
            truth=truth,
            boxes=xywh(found),
            scores=found.scores.detach().cpu().numpy(),
            labels=found.labels.detach().cpu().numpy(),
            # Encoded masks are kept, not the probabilities, which take gigabytes for a thousand images.
            masks=([rle["counts"] for rle in found.to_rle()] if len(found) else []) if masks else None,
            unlabelled=unlabelled,
        )

    def of_one_class(self) -> EvaluatedImage:
        """Returns the image with all its objects and detections of class 0; ignore regions stay."""
        truth = [item if item["label"] == ALL_CLASSES else {**item, "label": 0} for item in self.truth]
        unlabelled = [0] if len(self.unlabelled) else []
        return replace(self, truth=truth, labels=np.zeros_like(self.labels), unlabelled=unlabelled)

    def above(self, threshold: float) -> EvaluatedImage:
        """Returns the image with the detections that score at least ``threshold``."""
        kept = reaches(self.scores, threshold)
        return replace(
            self,
            boxes=self.boxes[kept],
            scores=self.scores[kept],
            labels=self.labels[kept],
            masks=None if self.masks is None else list(compress(self.masks, kept.tolist())),
            region_shares=None if self.region_shares is None else self.region_shares[kept],
        )

    def rles(self) -> list[dict[str, Any]]:
        """Returns the detections' masks as COCO's RLE; an empty list if masks are not evaluated."""
        size = list(self.size)
        return [{"size": size, "counts": counts} for counts in self.masks or ()]


class CocoBackend(ABC):
    """Matches the detections of an evaluation by a library, imported at the first use.

    Attributes:
        name: the library's, as pip has it.
    """

    name: str

    @abstractmethod
    def check(self) -> None:
        """Imports the library; raises the import's error, or ImportError for an old version."""

    @abstractmethod
    def load(self, images: Sequence[EvaluatedImage], num_classes: int, *, masks: bool) -> Any:
        """Returns the library's data sets of objects and detections, for :meth:`match`.

        Image and category ids are positions counted from 1, so that files may have any: 0, negative, beyond 64 bits.

        Args:
            images: at least one of them has an object.
            num_classes: K.
            masks: whether masks will be matched. Every object must have one then (see
                :func:`with_ignored_boxes`).
        """

    @abstractmethod
    def match(
        self,
        data: Any,
        iou_type: IouType,
        max_dets: Sequence[int],
        *,
        ious: np.ndarray = COCO_IOUS,
        areas: AreaRanges = COCO_AREAS,
    ) -> Curves:
        """Matches detections with ground truth, and accumulates precision and recall.

        A detection's area, which says whether an unmatched one counts as small, medium or large, is its box's for
        ``bbox`` and its mask's for ``segm``, as in Detectron2.

        Args:
            data: a result of :meth:`load`.
            iou_type: whether boxes or masks overlap.
            max_dets: numbers of detections per image and class, ascending.
            ious: IoU thresholds, ascending.
            areas: the ranges of areas, ``all`` first.
        """


def region_shares(images: Sequence[EvaluatedImage]) -> np.ndarray | None:
    """Returns ``region_shares`` of all images' detections, [sum N]; None if no image has any."""
    if all(image.region_shares is None for image in images):
        return None
    return np.concatenate([np.zeros(len(i.scores)) if i.region_shares is None else i.region_shares for i in images])


def lacks_mask(item: Mapping[str, Any]) -> bool:
    """Whether an object of the ground truth has a box only."""
    return item.get("segmentation") is None


def with_ignored_boxes(images: Sequence[EvaluatedImage]) -> list[EvaluatedImage]:
    """Returns the images with a crowd region, its box, for each object without a mask.

    A predicted mask in such a region is neither a true nor a false positive, and the region is not missed.
    """
    ignored = []
    for image in images:
        boxes = np.array([item["bbox"] for item in image.truth if lacks_mask(item)], np.float64)
        if len(boxes):
            regions = iter(box_rles(boxes, image.size))
            truth = [
                {**item, "iscrowd": 1, "segmentation": next(regions)} if lacks_mask(item) else item
                for item in image.truth
            ]
            image = replace(image, truth=truth)
        ignored.append(image)
    return ignored


def box_rles(boxes: np.ndarray, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Encodes all pixels that boxes [N, 4] XYWH touch as RLEs of ``size`` (height, width)."""
    corners = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, :2] + boxes[:, 2:])], 1)
    crop_boxes = corners.clip(0, [size[1], size[0]] * 2).astype(np.int64)
    crop_boxes[(crop_boxes[:, 2:] <= crop_boxes[:, :2]).any(1)] = 0
    pixels = int((crop_boxes[:, 2:] - crop_boxes[:, :2]).prod(1).sum())
    return InstanceMasks(torch.ones(pixels, dtype=torch.uint8), torch.from_numpy(crop_boxes), size).to_rle()
