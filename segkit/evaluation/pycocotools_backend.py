"""COCO matching by pycocotools, the reference implementation."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segkit.evaluation.coco_matching import (
    COCO_AREAS,
    AreaRanges,
    CocoBackend,
    Curves,
    EvaluatedImage,
    IouType,
    region_shares,
)
from segkit.evaluation.precision import COCO_IOUS
from segkit.evaluation.unannotated import accumulate


class PycocotoolsBackend(CocoBackend):
    """Back end with pycocotools, any version."""

    name = "pycocotools"

    def check(self) -> None:
        import pycocotools.cocoeval
        import pycocotools.mask  # noqa: F401  # its compiled part

    def load(self, images: Sequence[EvaluatedImage], num_classes: int, *, masks: bool) -> _Loaded:
        annotations: list[dict[str, Any]] = []
        for image_id, image in enumerate(images, 1):
            for item in image.truth:
                annotation = {key: item[key] for key in ("bbox", "area", "iscrowd")}
                if masks:
                    annotation["segmentation"] = item["segmentation"]
                annotations.append({**annotation, "image_id": image_id, "category_id": item["label"] + 1})
        return _Loaded(_data_set(images, num_classes, annotations), images)

    def match(
        self,
        data: _Loaded,
        iou_type: IouType,
        max_dets: Sequence[int],
        *,
        ious: np.ndarray = COCO_IOUS,
        areas: AreaRanges = COCO_AREAS,
    ) -> Curves:
        from pycocotools.cocoeval import COCOeval

        annotations: list[dict[str, Any]] = []
        for image_id, image in enumerate(data.images, 1):
            for i, (label, score) in enumerate(zip(image.labels.tolist(), image.scores.tolist(), strict=True)):
                annotation = {"image_id": image_id, "category_id": label + 1, "iscrowd": 0, "score": score}
                annotations.append({**annotation, **_region(image, i, iou_type)})
        # Not loadRes: it refuses an evaluation without any detection.
        found = _data_set(data.images, len(data.truth.dataset["categories"]), annotations)
        with _silent():
            evaluation = COCOeval(data.truth, found, iou_type)
            evaluation.params.maxDets = list(max_dets)
            evaluation.params.iouThrs = ious
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [list(one) for one in areas.values()], list(areas)
            evaluation.evaluate()
        shares = region_shares(data.images)
        if shares is not None:
            return accumulate(evaluation.evalImgs, shares, len(evaluation.params.catIds), max_dets, ious, areas)
        with _silent():
            evaluation.accumulate()
        return Curves(evaluation.eval["precision"], evaluation.eval["recall"], tuple(max_dets), tuple(areas))


@dataclass(frozen=True)
class _Loaded:
    """pycocotools' data set of the objects; the detections become one for each IoU type."""

    truth: Any
    images: Sequence[EvaluatedImage]


def _region(image: EvaluatedImage, i: int, iou_type: IouType) -> dict[str, Any]:
    """The box or mask of detection ``i``, and its area."""
    if iou_type == "bbox":
        box = image.boxes[i].tolist()
        return {"bbox": box, "area": box[2] * box[3]}
    from pycocotools import mask

    assert image.masks is not None
    rle = {"size": list(image.size), "counts": image.masks[i]}
    return {"segmentation": rle, "area": float(mask.area(rle))}


def _data_set(images: Sequence[EvaluatedImage], num_classes: int, annotations: Sequence[dict[str, Any]]) -> Any:
    """Returns pycocotools' data set of annotations, with ids from 1: id 0 means no match."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        "images": [{"id": i, "height": image.size[0], "width": image.size[1]} for i, image in enumerate(images, 1)],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(num_classes)],
        "annotations": [{**annotation, "id": i} for i, annotation in enumerate(annotations, 1)],
    }
    with _silent():
        coco.createIndex()
    return coco


def _silent() -> contextlib.AbstractContextManager[Any]:
    """A context that swallows what pycocotools prints."""
    return contextlib.redirect_stdout(io.StringIO())
