"""Masks of which each pixel belongs to one object at most."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch

from segkit.config.typecheck import Bounds
from segkit.postprocess.base import PostProcessor, required_masks, with_masks
from segkit.postprocess.crops import neighbours
from segkit.registry import POSTPROCESS_REGISTRY
from segkit.structures.detections import Detections
from segkit.structures.ragged import arrays
from segkit.structures.shared_pixels import common_window
from segkit.utils.errors import SegkitError


@POSTPROCESS_REGISTRY.register
class ExclusiveMasks(PostProcessor):
    """Assigns each pixel that several masks cover to one of them.

    The objects take their pixels one after the other, and the first one has them all. With ``order: score`` the best
    detection is first, and of equal ones the one that the model lists first. With ``order: mask_probability`` it is the one
    whose mask is most certain: the mean probability of its cells of at least 0.5, as the maskness of SOLOv2 (Wang et al.
    2020, section 4.3.2), times the score. An object that keeps too little of its mask is removed, and takes no pixel from
    those after it.

    Args:
        order: who comes first.
        min_area: pixels that an object must keep.
        min_share: share of its mask that it must keep.
    """

    def __init__(
        self,
        *,
        order: Literal["score", "mask_probability"] = "score",
        min_area: Annotated[int, Bounds(1)] = 1,
        min_share: Annotated[float, Bounds(0, 1)] = 0.0,
    ) -> None:
        self.order, self.min_area, self.min_share = order, min_area, min_share

    def __call__(self, detections: Detections) -> Detections:
        masks = required_masks(detections, "ExclusiveMasks")
        order = self._order(detections)
        crops, boxes = arrays(masks.bits, masks.crop_boxes), masks.crop_boxes.tolist()
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        earlier = neighbours(masks.crop_boxes.numpy()[order], "earlier")
        kept, changed = np.zeros(len(order), bool), np.zeros(len(order), bool)
        own = list(crops)
        for i in order.tolist():
            before = np.count_nonzero(crops[i])
            for k in order[earlier[place[i]]].tolist():
                if not kept[k]:
                    continue
                here, there = common_window(boxes[i], boxes[k])
                taken = crops[k][there]
                if (own[i][here] & taken).any():
                    if not changed[i]:
                        own[i], changed[i] = own[i].copy(), True
                    own[i][here] &= 1 - taken
            area = np.count_nonzero(own[i]) if changed[i] else before
            kept[i] = area >= max(self.min_area, 1) and area >= self.min_share * before
        return with_masks(detections, own, masks, changed)[torch.from_numpy(kept)]

    def _order(self, detections: Detections) -> np.ndarray:
        scores = detections.scores.numpy().astype(np.float64)
        if self.order == "mask_probability":
            probs = detections.mask_probs
            if probs is None:
                raise SegkitError(
                    "ExclusiveMasks: order: mask_probability needs the probabilities of masks, which tiles, FillHoles and "
                    "RemoveSpecks turn into pixels; use order: score, or name ExclusiveMasks first",
                    key="predict.postprocess",
                )
            inside = (probs >= 0.5).double()
            scores = scores * ((probs.double() * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)).numpy()
        return np.argsort(-scores, kind="stable")
