"""COCO matching by hotcoco, which takes objects and detections as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
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

SCORE = 5  # column of an array of results: image, x, y, width, height, score, category


class HotcocoBackend(CocoBackend):
    """Back end with hotcoco 1.2 or newer, which has ``COCO.from_arrays``."""

    name = "hotcoco"

    def check(self) -> None:
        from hotcoco import COCO

        if not hasattr(COCO, "from_arrays"):
            raise ImportError("hotcoco 1.2 or later is needed")

    def ground_truth(self, images: Sequence[EvaluatedImage], num_classes: int, *, masks: bool) -> Any:
        from hotcoco import COCO

        objects = [item for image in images for item in image.truth]
        sizes = [{"id": i, "height": image.size[0], "width": image.size[1]} for i, image in enumerate(images, 1)]
        categories = [{"id": label + 1, "name": str(label)} for label in range(num_classes)]
        return COCO.from_arrays(
            sizes,
            categories,
            _image_ids([len(image.truth) for image in images]),
            np.array([item["label"] for item in objects], np.int64) + 1,
            np.array([item["bbox"] for item in objects], np.float64),
            area=np.array([item["area"] for item in objects], np.float64),
            iscrowd=np.array([item["iscrowd"] for item in objects], np.int64),
            segmentation=[item["segmentation"] for item in objects] if masks else None,
        )

    def match(
        self,
        truth: Any,
        images: Sequence[EvaluatedImage],
        iou_type: IouType,
        max_dets: Sequence[int],
        score_threshold: float = 0.0,
        *,
        ious: np.ndarray = COCO_IOUS,
        areas: AreaRanges = COCO_AREAS,
    ) -> Curves:
        from hotcoco import COCOeval, mask

        # Results as one array: making a dict for each detection would take longer than matching.
        rows = np.column_stack(
            [
                _image_ids([len(image.scores) for image in images]),
                np.concatenate([image.boxes for image in images]),
                np.concatenate([image.scores for image in images]),
                np.concatenate([image.labels for image in images]) + 1,
            ]
        )  # float64 [N, 7]
        high = rows[:, SCORE] >= score_threshold
        if iou_type == "bbox":
            found = truth.load_res(rows[high])
        else:
            rles = list(compress((rle for image in images for rle in image.rles()), high.tolist()))
            found = truth.load_res(rows[high], segmentation=rles)
            # With a box, COCO's tools use the box's area; the mask's area is correct.
            found.update_anns(ids=np.arange(1, len(rles) + 1), area=mask.area(rles))
        evaluation = COCOeval(truth, found, iou_type)
        evaluation.params.max_dets = list(max_dets)
        evaluation.params.iou_thrs = ious.tolist()
        evaluation.params.area_rng, evaluation.params.area_rng_lbl = [list(one) for one in areas.values()], list(areas)
        evaluation.evaluate()
        shares = region_shares(images)
        if shares is not None:
            return accumulate(evaluation.eval_imgs, shares[high], len(evaluation.params.cat_ids), max_dets, ious, areas)
        evaluation.accumulate()
        curves = evaluation.eval
        assert curves is not None  # accumulate() fills it
        return Curves(np.asarray(curves["precision"]), np.asarray(curves["recall"]), tuple(max_dets), tuple(areas))


def _image_ids(counts: Sequence[int]) -> np.ndarray:
    """The id of its image, counted from 1, for each of the images' objects."""
    return np.repeat(np.arange(1, len(counts) + 1), counts)
