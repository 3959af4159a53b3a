"""The COCO evaluator: average precision and recall of boxes and masks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.evaluation.coco_backends import BackendName, choose_backend
from segkit.evaluation.coco_matching import (
    COCO_AREAS,
    Curves,
    EvaluatedImage,
    IouType,
    lacks_mask,
    with_ignored_boxes,
)
from segkit.evaluation.coco_ranges import named_areas, named_ious
from segkit.evaluation.evaluator import Evaluator, checked_truth, merge_images
from segkit.evaluation.results import result_dicts, write_json
from segkit.evaluation.unannotated import has_unannotated, with_crowds
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
    """COCO's AP and AR of boxes (``bbox/...``) and masks (``segm/...``), in 0..1.

    The metrics are ``segm/AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, ``AR``, ``ARs``, ``ARm`` and ``ARl`` at the
    model's limit of detections, and ``segm/AP@100`` at COCO's 100 per image and class. ``per_class`` adds
    ``segm/AP-NAME``, ``segm/AP50-NAME`` and ``segm/AP75-NAME``. A metric without ground truth is absent.

    AP is the mean over classes, IoU thresholds and 101 recalls of the interpolated precision, AR the mean over classes and
    IoU thresholds of the recall (Lin et al. 2014, Microsoft COCO; ``s``, ``m``, ``l``: objects of under 32 x 32 pixels, from
    there to 96 x 96, and larger ones).

    An object without a mask counts for ``bbox`` only. For ``segm`` its box is a region where detections are ignored, as
    COCO's crowd regions are.

    The ignore regions (``label`` -1) of an image are one crowd region of every class. An unmatched detection of a class that
    is unlabelled in its image counts neither way. :mod:`segkit.evaluation.unannotated` has the rules.

    For a class-agnostic model all classes are taken as one, as for proposals: ``bbox/AR`` is the fraction of objects that
    are found, of any class, and ``bbox/AR@100`` the fraction among the best 100 detections.

    Args:
        classes: name of each label.
        category_ids: the id of each label in files, for the results file.
        max_detections: the model's limit per image.
        results_dir: where ``coco_instances_results.json`` is written; None: nowhere. Class-agnostic detections have the
            first category's id in it.
        class_agnostic: whether the model's detections have no class.
        predicts_masks: whether the model predicts masks; if not, ``segm`` is an error.
        iou_types: boxes, masks or both.
        score_thresholds: for each, AP and AP50 of the detections that score at least as much are reported too, as
            ``segm/AP50@score0.5``. They are never above AP, and are what a submission with that threshold achieves.
        per_class: whether the AP of each class is reported.
        iou_thresholds: of which AP and AR are the means, in place of COCO's 0.5, 0.55, ..., 0.95. Each has its AP, as
            ``segm/AP30`` for 0.3.
        area_ranges: further ranges of the objects' areas in pixels, by name: ``{tiny: [0, 256]}`` adds ``segm/AP_tiny`` and
            ``segm/AR_tiny``. Both limits are included; ``.inf`` is none.
        backend: the library that matches detections: hotcoco or pycocotools, which give the same values; ``auto``:
            hotcoco, or pycocotools where hotcoco cannot be imported.
    Raises:
        SegkitError: an argument out of range, or a back end that cannot be imported.
    """

    needs_images = False

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
        iou_thresholds: Sequence[float] | None = None,
        area_ranges: Mapping[str, Sequence[float]] | None = None,
        backend: BackendName = "auto",
    ) -> None:
        assert len(classes) == len(category_ids), (classes, category_ids)
        if not iou_types or len(set(iou_types)) != len(iou_types) or not set(iou_types) <= {"bbox", "segm"}:
            raise SegkitError(f"iou_types: expected bbox, segm or both, got {list(iou_types)}", key="iou_types")
        if "segm" in iou_types and not predicts_masks:
            raise SegkitError(NO_MASKS, key="iou_types")
        if not all(0 <= t <= 1 for t in score_thresholds):
            raise SegkitError(f"score_thresholds: expected scores in 0..1, got {list(score_thresholds)}")
        self.classes = list(classes)
        self.category_ids = list(category_ids)
        self.max_detections = max_detections
        self.results_dir = results_dir
        self.iou_types = tuple(iou_types)
        self.score_thresholds = sorted(set(score_thresholds))
        self.class_agnostic = class_agnostic
        self.per_class = per_class and not class_agnostic
        self.ious, self._iou_names = named_ious(iou_thresholds)
        self.areas = named_areas(area_ranges or {})
        self.backend = choose_backend(backend)
        self._warned_of_limit = False
        self._warned_of_masks = False
        self.reset()

    def metric_names(self) -> list[str]:
        """All metrics that are possible; those without ground truth in the data will be absent."""
        names = ["AP", *self._iou_names, "APs", "APm", "APl", "AP@100", "AR", "ARs", "ARm", "ARl"]
        names += [f"{kind}_{name}" for name in self._own_areas for kind in ("AP", "AR")]
        at_score = ["AP", *(["AP50"] if "AP50" in self._iou_names else [])]
        names += [f"{ap}@score{threshold:g}" for threshold in self.score_thresholds for ap in at_score]
        if self.class_agnostic:
            names.append("AR@100")
        if self.per_class:
            names += [f"{ap}-{name}" for name in self.classes for ap in ("AP", *self._ious_of_classes)]
        return [f"{iou_type}/{name}" for iou_type in self.iou_types for name in names]

    def reset(self) -> None:
        self._images: dict[int, EvaluatedImage] = {}

    def process(self, batch: Batch, detections: list[Detections]) -> None:
        rows = zip(batch.image_ids, batch.sizes, batch.annotations, batch.targets, detections, strict=True)
        for image_id, size, truth, targets, found in rows:
            truth = checked_truth(image_id, truth, self._images.keys())
            if "segm" in self.iou_types and not found.has_masks and len(found):
                raise SegkitError(NO_MASKS, key="iou_types")
            assert tuple(found.size) == tuple(size), (found.size, size)
            self._images[image_id] = EvaluatedImage.of(
                truth, found, targets.unlabelled.tolist(), masks="segm" in self.iou_types
            )

    def results(self) -> dict[int, EvaluatedImage]:
        return self._images

    def merge(self, shares: Sequence[dict[int, EvaluatedImage]]) -> None:
        self._images = merge_images(shares)

    @gc_paused()  # garbage collection over 50,000 objects' dicts would add two thirds to the time
    def evaluate(self) -> dict[str, float]:
        if self.results_dir is not None:
            self.write_results(Path(self.results_dir) / RESULTS_NAME)
        self._warn_of_limit()
        images = [self._images[i] for i in sorted(self._images)]  # in the order of COCO's tools, which decides ties
        if all(t["iscrowd"] for image in images for t in image.truth):
            logger.warning("no ground truth in the %d images evaluated, so there are no metrics", len(images))
            return {}
        if self.class_agnostic:
            images = [image.of_one_class() for image in images]
        found: dict[IouType, dict[str, float | None]] = {}
        for iou_types, images_of_types in self._images_by_type(images):
            found |= self._match(images_of_types, iou_types)
        return {
            f"{iou_type}/{key}": value
            for iou_type in found
            for key, value in found[iou_type].items()
            if value is not None
        }

    def _match(
        self, images: Sequence[EvaluatedImage], iou_types: Sequence[IouType]
    ) -> dict[IouType, dict[str, float | None]]:
        """The metrics of each IoU type."""
        num_classes, masks = 1 if self.class_agnostic else len(self.classes), "segm" in iou_types
        max_dets = sorted({STANDARD_LIMIT, self.max_detections})
        data = self.backend.load(images, num_classes, masks=masks)
        values = {
            iou_type: self._summary(self.backend.match(data, iou_type, max_dets, ious=self.ious, areas=self.areas))
            for iou_type in iou_types
        }
        for threshold in self.score_thresholds:
            data = self.backend.load([image.above(threshold) for image in images], num_classes, masks=masks)
            for iou_type in iou_types:
                curves = self.backend.match(data, iou_type, [self.max_detections], ious=self.ious)
                values[iou_type][f"AP@score{threshold:g}"] = curves.ap(self.max_detections)
                if (iou_50 := self._iou_names.get("AP50")) is not None:
                    values[iou_type][f"AP50@score{threshold:g}"] = curves.ap(self.max_detections, iou=iou_50)
        return values

    def _images_by_type(
        self, images: Sequence[EvaluatedImage]
    ) -> list[tuple[Sequence[IouType], Sequence[EvaluatedImage]]]:
        """The images as the back end takes them, and the IoU types with ground truth that they serve."""
        unmasked = "segm" in self.iou_types and any(
            None in [item.get("segmentation") for item in image.truth] for image in images
        )
        if not unmasked and not has_unannotated(images):
            return [(self.iou_types, images)]
        known = [not lacks_mask(item) for image in images for item in image.truth if not item["iscrowd"]]
        if unmasked:
            self._warn_of_masks(known)
        found: list[tuple[Sequence[IouType], Sequence[EvaluatedImage]]] = []
        for iou_type in self.iou_types:
            masks = iou_type == "segm"
            if not masks or any(known):
                found.append(([iou_type], with_crowds(with_ignored_boxes(images) if masks else images, iou_type)))
        return found

    def write_results(self, path: str | Path) -> Path:
        """Writes all detections as a COCO results file, with the ids of the files."""
        results: list[dict[str, Any]] = []
        for image_id in sorted(self._images):
            image = self._images[image_id]
            rles = None if image.masks is None else image.rles()
            results += result_dicts(image_id, self.category_ids, image.boxes, image.scores, image.labels, rles)
        return write_json(path, results)

    @property
    def _own_areas(self) -> list[str]:
        return [name for name in self.areas if name not in COCO_AREAS]

    @property
    def _ious_of_classes(self) -> dict[str, int]:
        """Those of AP50 and AP75 that are measured, with the position of the IoU."""
        return {name: iou for name, iou in self._iou_names.items() if name in ("AP50", "AP75")}

    def _summary(self, curves: Curves) -> dict[str, float | None]:
        limit = self.max_detections
        sizes = {"s": "small", "m": "medium", "l": "large"}
        values = {"AP": curves.ap(limit)}
        values |= {name: curves.ap(limit, iou=iou) for name, iou in self._iou_names.items()}
        values |= {f"AP{letter}": curves.ap(limit, area=area) for letter, area in sizes.items()}
        values |= {"AP@100": curves.ap(STANDARD_LIMIT), "AR": curves.ar(limit)}
        values |= {f"AR{letter}": curves.ar(limit, area=area) for letter, area in sizes.items()}
        for area in self._own_areas:
            values |= {f"AP_{area}": curves.ap(limit, area=area), f"AR_{area}": curves.ar(limit, area=area)}
        if self.class_agnostic:
            values["AR@100"] = curves.ar(STANDARD_LIMIT)
        for label, name in enumerate(self.classes if self.per_class else []):
            values[f"AP-{name}"] = curves.ap(limit, label=label)
            for ap, iou in self._ious_of_classes.items():
                values[f"{ap}-{name}"] = curves.ap(limit, label=label, iou=iou)
        return values

    def _warn_of_masks(self, known: Sequence[bool]) -> None:
        """Warns once if objects lack masks; ``known``: whether each non-crowd object has one."""
        if self._warned_of_masks or all(known):
            return
        self._warned_of_masks = True
        if not any(known):
            logger.warning(
                "none of the %d objects evaluated has a mask, so there are no segm metrics; %s",
                len(known),
                ONLY_BOXES,
            )
            return
        logger.warning(
            "%d of %d objects evaluated have no mask: for segm their boxes are regions where detections are ignored",
            known.count(False), len(known),
        )  # fmt: skip

    def _warn_of_limit(self) -> None:
        """Warns once if images have more objects than the model may detect."""
        images = self._images.values()
        if self._warned_of_limit or all(len(image.truth) <= self.max_detections for image in images):
            return
        counts = [sum(not t["iscrowd"] for t in image.truth) for image in images]
        over = [count for count in counts if count > self.max_detections]
        if not over:
            return
        self._warned_of_limit = True
        missed = sum(over) - self.max_detections * len(over)
        logger.warning(
            "%d of %d images have more objects than the model's limit of %d detections per image (the most: %d): "
            "%d of %d objects cannot be found, so that recall is at most %.1f %%; raise the model's detections_per_image",
            len(over), len(counts), self.max_detections, max(over), missed, sum(counts), 100 * (1 - missed / sum(counts)),
        )  # fmt: skip
