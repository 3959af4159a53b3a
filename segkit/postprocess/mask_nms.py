"""Non-maximum suppression by masks."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch

from segkit.config.typecheck import Bounds
from segkit.postprocess.base import PostProcessor, required_masks
from segkit.postprocess.crops import neighbours
from segkit.registry import POSTPROCESS_REGISTRY
from segkit.structures.detections import Detections
from segkit.structures.ragged import arrays
from segkit.structures.shared_pixels import shared_pixels


@POSTPROCESS_REGISTRY.register
class MaskNMS(PostProcessor):
    """Removes detections whose masks overlap a better one too much.

    Greedy, as NMS of boxes: the best detection stays and removes those that overlap it, then the next best one
    that is left, and so on. With ``measure: iou`` the overlap is the intersection over the union; with ``containment`` the
    intersection over the smaller area, which removes parts of an object and objects that enclose others too.

    Args:
        threshold: a detection goes if the overlap is above it.
        measure: of the overlap.
        per_class: whether only detections of the same class are compared.
    """

    def __init__(
        self,
        *,
        threshold: Annotated[float, Bounds(0, 1)] = 0.5,
        measure: Literal["iou", "containment"] = "iou",
        per_class: bool = True,
    ) -> None:
        self.threshold, self.measure, self.per_class = threshold, measure, per_class

    def __call__(self, detections: Detections) -> Detections:
        masks = required_masks(detections, "MaskNMS")
        areas, labels = masks.areas().numpy(), detections.labels.numpy()
        crops, boxes = arrays(masks.bits, masks.crop_boxes), masks.crop_boxes.tolist()
        kept = np.ones(len(masks), bool)
        for i, others in enumerate(neighbours(masks.crop_boxes.numpy(), "later")):
            if not kept[i] or not len(others):
                continue
            others = others[kept[others]]
            if self.per_class:
                others = others[labels[others] == labels[i]]
            smaller = np.minimum(areas[i], areas[others])
            # The overlap is at most that of the smaller mask inside the larger one.
            others = others[self._overlap(smaller, areas[i], areas[others]) > self.threshold]
            shared = np.array([shared_pixels(crops[i], boxes[i], crops[k], boxes[k]) for k in others], np.int64)
            kept[others[self._overlap(shared, areas[i], areas[others]) > self.threshold]] = False
        return detections[torch.from_numpy(kept)]

    def _overlap(self, shared: np.ndarray, area: np.int64, others: np.ndarray) -> np.ndarray:
        """The measure of each pair, float64; of two empty masks 0."""
        whole = area + others - shared if self.measure == "iou" else np.minimum(area, others)
        return shared / np.maximum(whole, 1)
