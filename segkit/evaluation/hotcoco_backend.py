"""COCO matching by hotcoco, which takes objects and detections as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class HotcocoBackend(CocoBackend):
    """Back end with hotcoco 1.2 or newer, which has ``COCO.from_arrays``."""

    name = "hotcoco"

    def check(self) -> None:
        from hotcoco import COCO

        if not hasattr(COCO, "from_arrays"):
            raise ImportError("hotcoco 1.2 or later is needed")

    def load(self, images: Sequence[EvaluatedImage], num_classes: int, *, masks: bool) -> _Loaded:
        from hotcoco import COCO, mask

        objects = [item for image in images for item in image.truth]
        sizes = [{"id": i, "height": image.size[0], "width": image.size[1]} for i, image in enumerate(images, 1)]
        categories = [{"id": label + 1, "name": str(label)} for label in range(num_classes)]
        truth = COCO.from_arrays(
            sizes,
            categories,
            _image_ids([len(image.truth) for image in images]),
            np.array([item["label"] for item in objects], np.int64) + 1,
            np.array([item["bbox"] for item in objects], np.float64),
            area=np.array([item["area"] for item in objects], np.float64),
            iscrowd=np.array([item["iscrowd"] for item in objects], np.int64),
            segmentation=[item["segmentation"] for item in objects] if masks else None,
        )
        boxes = np.concatenate([image.boxes for image in images])
        # Results as one array: making a dict for each detection would take longer than matching.
        rows = np.column_stack(
            [
                _image_ids([len(image.scores) for image in images]),
                boxes,
                np.concatenate([image.scores for image in images]),
                np.concatenate([image.labels for image in images]) + 1,
            ]
        )  # float64 [N, 7]
        areas: dict[IouType, np.ndarray] = {"bbox": boxes[:, 2] * boxes[:, 3]}
        if not masks:
            return _Loaded(truth, truth.load_res(rows), areas, region_shares(images))
        rles: list[Any] = [rle for image in images for rle in image.rles()]
        areas["segm"] = mask.area(rles)
        return _Loaded(truth, truth.load_res(rows, segmentation=rles), areas, region_shares(images))

    def match(
        self,
        data: _Loaded,
        iou_type: IouType,
        max_dets: Sequence[int],
        *,
        ious: np.ndarray = COCO_IOUS,
        areas: AreaRanges = COCO_AREAS,
    ) -> Curves:
        from hotcoco import COCOeval

        of_type = data.areas[iou_type]
        data.found.update_anns(ids=np.arange(1, len(of_type) + 1), area=of_type)
        evaluation = COCOeval(data.truth, data.found, iou_type)
        evaluation.params.max_dets = list(max_dets)
        evaluation.params.iou_thrs = ious.tolist()
        evaluation.params.area_rng, evaluation.params.area_rng_lbl = [list(one) for one in areas.values()], list(areas)
        evaluation.evaluate()
        if data.shares is not None:
            classes = len(evaluation.params.cat_ids)
            return accumulate(evaluation.eval_imgs, data.shares, classes, max_dets, ious, areas)
        evaluation.accumulate()
        curves = evaluation.eval
        assert curves is not None  # accumulate() fills it
        return Curves(np.asarray(curves["precision"]), np.asarray(curves["recall"]), tuple(max_dets), tuple(areas))


@dataclass(frozen=True)
class _Loaded:
    """hotcoco's data sets of objects and N detections.

    Attributes:
        truth: the objects.
        found: the detections, loaded once for boxes and masks; their ids are 1 to N.
        areas: [N] of the detections, by what is matched.
        shares: ``region_shares`` of the detections.
    """

    truth: Any
    found: Any
    areas: Mapping[IouType, np.ndarray]
    shares: np.ndarray | None


def _image_ids(counts: Sequence[int]) -> np.ndarray:
    """The id of its image, counted from 1, for each of the images' objects."""
    return np.repeat(np.arange(1, len(counts) + 1), counts)
