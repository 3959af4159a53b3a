"""COCO's average precision of boxes and masks.

The back end is hotcoco (Rust, MIT, one abi3 wheel a platform, needs only numpy). On random data with crowds, ties and
limits from 1 to 300 its curves equalled pycocotools' bit for bit (faster-coco-eval's differed by 2e-16), 2 to 3 times
as fast as faster-coco-eval; it also has confusion matrices and TIDE error kinds. ``tools/benchmark.py evaluate`` has
the times beside pycocotools.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit.evaluation.coco_matching import (
    IOU_50,
    IOU_75,
    Curves,
    EvaluatedImage,
    IouType,
    ground_truth,
    lacks_mask,
    match,
    with_ignored_boxes,
)
from segkit.evaluation.evaluator import Evaluator
from segkit.evaluation.results import result_dicts, write_json, xywh
from segkit.registry import EVALUATOR_REGISTRY
from segkit.utils.errors import SegkitError
from segkit.utils.garbage import gc_paused

if TYPE_CHECKING:
    from segkit.structures.detections import Detections
    from segkit.structures.sample import Batch

logger = logging.getLogger(__name__)

RESULTS_NAME = "coco_instances_results.json"
STANDARD_LIMIT = 100
ONLY_BOXES = "set evaluators=[{name: COCO, iou_types: [bbox]}]"
NO_MASKS = "the model predicts no masks, so 'segm' cannot be evaluated; set the evaluator's iou_types: [bbox]"


@EVALUATOR_REGISTRY.register(name="COCO")
class CocoEvaluator(Evaluator):
    """AP and AR in 0..1, as ``segm/AP``, ``segm/AP50``, ``segm/AP75``, ``segm/APs``, ``APm``, ``APl``, ``segm/AR``.

    These are at the model's limit of detections, ``segm/AP@100`` is at COCO's 100 an image and class. ``per_class``
    adds ``segm/AP-NAME``, ``segm/AP50-NAME``, ``segm/AP75-NAME``. A metric without ground truth is left out.

    An object without a mask counts for ``bbox`` only: for ``segm`` its box is a region where detections are ignored, as
    COCO's crowd regions are.

    Of a model that tells no classes apart (``class_agnostic``) the boxes are measured with all classes taken as one, as
    proposals are: AR says how many objects are found whatever they are, ``bbox/AR@100`` among the best 100.

    Args:
        classes: name of each label.
        category_ids: the files' id of each label, for the results file.
        max_detections: the model's limit an image.
        results_dir: where ``coco_instances_results.json`` is written; None: nowhere. It gives class-agnostic detections
            the first category's id.
        class_agnostic: the model's detections say where, not what.
        predicts_masks: False: the model gives boxes only, and ``segm`` is an error.
        iou_types: boxes, masks or both.
        score_thresholds: for each also AP and AP50 of the detections that score at least as much:
            ``segm/AP50@score0.5``. AP without a threshold is never lower; with one it tells what a submission gets.
        per_class: whether each class is reported too.
    """

    def __init__(
        self,
        classes: Sequence[str],
        category_ids: Sequence[int],
        max_detections: int,
        results_dir: str | None = None,
        class_agnostic: bool = False,
        predicts_masks: bool = True,
        *,
        iou_types: Sequence[IouType] = ("bbox", "segm"),
        score_thresholds: Sequence[float] = (),
        per_class: bool = True,
    ) -> None:
        assert len(classes) == len(category_ids), (classes, category_ids)
        if not iou_types or len(set(iou_types)) != len(iou_types) or not set(iou_types) <= {"bbox", "segm"}:
            raise SegkitError(f"iou_types: expected bbox, segm or both, got {list(iou_types)}", key="iou_types")
        if "segm" in iou_types and not predicts_masks:
            raise SegkitError(NO_MASKS, key="iou_types")
        if not all(0 <= t <= 1 for t in score_thresholds):
            raise SegkitError(f"score_thresholds: expected numbers in 0..1, got {list(score_thresholds)}")
        self.classes = list(classes)
        self.category_ids = list(category_ids)
        self.max_detections = max_detections
        self.results_dir = results_dir
        self.iou_types = tuple(iou_types)
        self.score_thresholds = sorted(set(score_thresholds))
        self.class_agnostic = class_agnostic
        self.per_class = per_class and not class_agnostic
        self._warned_of_limit = False
        self._warned_of_masks = False
        self.reset()

    def metric_names(self) -> list[str]:
        """All that the evaluator can give; what the data has no ground truth for it leaves out."""
        names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AP@100", "AR"]
        names += [f"{ap}@score{threshold:g}" for threshold in self.score_thresholds for ap in ("AP", "AP50")]
        if self.class_agnostic:
            names.append("AR@100")
        if self.per_class:
            names += [f"{ap}-{name}" for name in self.classes for ap in ("AP", "AP50", "AP75")]
        return [f"{iou_type}/{name}" for iou_type in self.iou_types for name in names]

    def reset(self) -> None:
        self._images: dict[int, EvaluatedImage] = {}

    def process(self, batch: Batch, detections: list[Detections]) -> None:
        rows = zip(batch.image_ids, batch.sizes, batch.annotations, detections, strict=True)
        for image_id, size, truth, found in rows:
            if image_id in self._images:
                raise SegkitError(f"the image id {image_id} occurs twice in the evaluation data", value=image_id)
            if truth is None:
                raise SegkitError(f"image {image_id} comes without ground truth: such data cannot be evaluated")
            if "segm" in self.iou_types and found.mask_probs is None and len(found):
                raise SegkitError(NO_MASKS, key="iou_types")
            assert tuple(found.size) == tuple(size), (found.size, size)
            # Only what the metrics need stays: encoded masks, not the probabilities.
            masks = [rle["counts"] for rle in found.to_rle()] if "segm" in self.iou_types and len(found) else []
            self._images[image_id] = EvaluatedImage(
                size=(int(size[0]), int(size[1])),
                truth=truth,
                boxes=xywh(found),
                scores=found.scores.detach().cpu().numpy(),
                labels=found.labels.detach().cpu().numpy(),
                masks=masks if "segm" in self.iou_types else None,
            )

    def results(self) -> dict[int, EvaluatedImage]:
        return self._images

    def merge(self, shares: Sequence[dict[int, EvaluatedImage]]) -> None:
        self._images = {}
        for share in shares:
            if twice := self._images.keys() & share.keys():
                raise SegkitError(f"the image id {min(twice)} occurs twice in the evaluation data", value=min(twice))
            self._images.update(share)

    @gc_paused()  # one among 50,000 objects' dicts takes two thirds of the time that all the rest does
    def evaluate(self) -> dict[str, float]:
        if self.results_dir is not None:
            self.write_results(Path(self.results_dir) / RESULTS_NAME)
        self._warn_of_limit()
        images = [self._images[i] for i in sorted(self._images)]  # COCO's tools go by id, which decides among ties
        if all(t["iscrowd"] for image in images for t in image.truth):
            logger.warning("no ground truth in the %d images evaluated: no metrics can be given", len(images))
            return {}
        if self.class_agnostic:
            images = [
                replace(image, truth=[{**t, "label": 0} for t in image.truth], labels=np.zeros_like(image.labels))
                for image in images
            ]
        metrics: dict[str, float] = {}
        for iou_type, truth in self._ground_truths(images).items():
            limits = sorted({STANDARD_LIMIT, self.max_detections})
            values = self._summary(match(truth, images, iou_type, limits))
            for threshold in self.score_thresholds:
                curves = match(truth, images, iou_type, [self.max_detections], threshold)
                values[f"AP@score{threshold:g}"] = curves.ap(self.max_detections)
                values[f"AP50@score{threshold:g}"] = curves.ap(self.max_detections, iou=IOU_50)
            metrics.update({f"{iou_type}/{key}": value for key, value in values.items() if value is not None})
        return metrics

    def _ground_truths(self, images: Sequence[EvaluatedImage]) -> dict[IouType, Any]:
        """hotcoco's data set for each kind of overlap that can be measured: one for both where all objects have masks."""
        num_classes = 1 if self.class_agnostic else len(self.classes)
        masks = "segm" in self.iou_types
        known = [not lacks_mask(item) for image in images for item in image.truth if not item["iscrowd"]]
        if not masks or not any(lacks_mask(item) for image in images for item in image.truth):
            return dict.fromkeys(self.iou_types, ground_truth(images, num_classes, masks=masks))
        self._warn_of_masks(known)
        truths: dict[IouType, Any] = {}
        for iou_type in self.iou_types:
            if iou_type == "bbox":
                truths[iou_type] = ground_truth(images, num_classes, masks=False)
            elif any(known):
                truths[iou_type] = ground_truth(with_ignored_boxes(images), num_classes, masks=True)
        return truths

    def write_results(self, path: str | Path) -> Path:
        """All detections seen, as a COCO results file: the files' image and category ids, pixels and sizes."""
        results: list[dict[str, Any]] = []
        for image_id in sorted(self._images):
            image = self._images[image_id]
            rles = None if image.masks is None else image.rles()
            results += result_dicts(image_id, self.category_ids, image.boxes, image.scores, image.labels, rles)
        return write_json(path, results)

    def _summary(self, curves: Curves) -> dict[str, float | None]:
        limit = self.max_detections
        values = {
            "AP": curves.ap(limit),
            "AP50": curves.ap(limit, iou=IOU_50),
            "AP75": curves.ap(limit, iou=IOU_75),
            "APs": curves.ap(limit, area="small"),
            "APm": curves.ap(limit, area="medium"),
            "APl": curves.ap(limit, area="large"),
            "AP@100": curves.ap(STANDARD_LIMIT),
            "AR": curves.ar(limit),
        }
        if self.class_agnostic:
            values["AR@100"] = curves.ar(STANDARD_LIMIT)
        for label, name in enumerate(self.classes if self.per_class else []):
            values[f"AP-{name}"] = curves.ap(limit, label=label)
            values[f"AP50-{name}"] = curves.ap(limit, label=label, iou=IOU_50)
            values[f"AP75-{name}"] = curves.ap(limit, label=label, iou=IOU_75)
        return values

    def _warn_of_masks(self, known: Sequence[bool]) -> None:
        """Say so, once, where objects that are no crowd regions have no mask; ``known`` has one value for each."""
        if self._warned_of_masks or all(known):
            return
        self._warned_of_masks = True
        if not any(known):
            logger.warning(
                "none of the %d objects evaluated has a mask, so there are no metrics of segm; %s",
                len(known),
                ONLY_BOXES,
            )
            return
        logger.warning(
            "%d of %d objects evaluated have no mask: for segm their boxes are regions where detections are ignored",
            known.count(False), len(known),
        )  # fmt: skip

    def _warn_of_limit(self) -> None:
        """Say so, once, where images have more objects than the model may find."""
        counts = [sum(not t["iscrowd"] for t in image.truth) for image in self._images.values()]
        over = [count for count in counts if count > self.max_detections]
        if not over or self._warned_of_limit:
            return
        self._warned_of_limit = True
        lost = sum(over) - self.max_detections * len(over)
        logger.warning(
            "%d of %d images have more objects than the model's limit of %d detections an image (the most: %d): "
            "%d of %d objects cannot be found, so that recall is at most %.1f %%; raise the model's detections_per_image",
            len(over), len(counts), self.max_detections, max(over), lost, sum(counts), 100 * (1 - lost / sum(counts)),
        )  # fmt: skip
