"""Peers of the part ``tiles``: merging by supervision and by sahi."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from torch import Tensor

from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks

SUPERVISION, SAHI = "supervision", "sahi"
MODULES = {SUPERVISION: "supervision", SAHI: "sahi"}
IOU = 0.5

Rles = list[dict[str, Any]]


def supervision_step(tiles: list[Detections], windows: Tensor, size: tuple[int, int]) -> Callable[[], Rles]:
    """Non-maximum merging of masks of the image's size, as ``InferenceSlicer`` does."""
    import supervision

    ready = [
        (found.boxes.numpy(), dense_of(found), found.scores.numpy(), found.labels.numpy(), window)
        for found, window in zip(tiles, windows.tolist(), strict=True)
        if len(found)
    ]

    def step() -> Rles:
        moved = []
        for boxes, dense, scores, labels, (x0, y0, x1, y1) in ready:
            masks = np.zeros((len(dense), *size), np.bool_)
            masks[:, y0:y1, x0:x1] = dense
            shift = np.array([x0, y0, x0, y0])
            moved.append(supervision.Detections(xyxy=boxes + shift, mask=masks, confidence=scores, class_id=labels))
        found = supervision.Detections.merge(moved).with_nmm(threshold=IOU)
        return [encoded(mask) for mask in found.mask]

    return step


def sahi_step(tiles: list[Detections], windows: Tensor, size: tuple[int, int]) -> Callable[[], Rles]:
    """Merging of polygons by ``GreedyNMMPostprocess``, its default."""
    from sahi.postprocess.combine import GreedyNMMPostprocess
    from sahi.prediction import ObjectPrediction

    postprocess = GreedyNMMPostprocess(match_threshold=IOU, match_metric="IOS", class_agnostic=False)
    ready = []
    for found, (x0, y0, _, _) in zip(tiles, windows.tolist(), strict=True):
        for mask, box, score, label in zip(dense_of(found), found.boxes, found.scores, found.labels, strict=True):
            polygons = outlines(mask)
            if polygons:
                ready.append(
                    ObjectPrediction(
                        bbox=box.tolist(),
                        category_id=int(label),
                        category_name=str(int(label)),
                        score=float(score),
                        segmentation=polygons,
                        shift_amount=[x0, y0],
                        full_shape=list(size),
                    )
                )

    def step() -> Rles:
        merged = postprocess([one.get_shifted_object_prediction() for one in ready])
        return [encoded(one.mask.bool_mask) for one in merged if one.mask is not None]

    return step


STEPS = {SUPERVISION: supervision_step, SAHI: sahi_step}


def dense_of(found: Detections) -> np.ndarray:
    """Masks bool [N, h, w] of a tile."""
    masks = found.masks if len(found) else InstanceMasks.empty(found.size)
    assert masks is not None
    return masks.to_dense().numpy()


def outlines(mask: np.ndarray) -> list[list[float]]:
    """Outlines of a mask as sahi stores them: polygons of at least three points."""
    from sahi.utils.cv import get_coco_segmentation_from_bool_mask

    return [polygon for polygon in get_coco_segmentation_from_bool_mask(mask) if len(polygon) >= 6]


def encoded(mask: np.ndarray) -> dict[str, Any]:
    """COCO's compressed RLE of a mask."""
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {**rle, "counts": rle["counts"].decode()}
