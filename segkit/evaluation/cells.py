"""The evaluator of cells: matched, missed, split and merged objects at one score threshold."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit.evaluation.cell_counts import IOU_50, IOU_THRESHOLDS, CellCounts, count_cells, match_at
from segkit.evaluation.coco_matching import box_rles, lacks_mask
from segkit.evaluation.evaluator import Evaluator, checked_truth, merge_images
from segkit.evaluation.overlaps import Overlaps, has_scipy, mask_overlaps, shares_in
from segkit.evaluation.unannotated import is_region
from segkit.registry import EVALUATOR_REGISTRY
from segkit.utils.errors import MissingPackage, SegkitError

if TYPE_CHECKING:
    from segkit.structures.detections import Detections
    from segkit.structures.sample import Batch

logger = logging.getLogger(__name__)

PREFIX = "cells"
IGNORED_SHARE = 0.5  # of a detection's pixels in ignore regions


@EVALUATOR_REGISTRY.register(name="Cells")
class CellEvaluator(Evaluator):
    """The metrics of the cell field, of masks at one score threshold: ``cells/...``.

    They describe the result that a user gets, unlike COCO's AP, which averages over score thresholds. An object is found
    (TP) if a detection of its class is matched with it one to one at the IoU threshold
    (:func:`~segkit.evaluation.cell_counts.match_at`), else missed (FN); other detections are wrong (FP). Counts are summed
    over all images and classes first, unless it says "by image".

    - ``AP@0.5``, ...: TP / (TP + FP + FN) at an IoU threshold, as in StarDist ("accuracy"), Cellpose and the Data Science
      Bowl; ``AP@0.5:0.95``: its mean over the IoUs 0.5, 0.55, ..., 0.95.
    - ``image_AP@0.5``, ..., ``image_AP@0.5:0.95``: the same by image, then the mean over images (Caicedo et al. 2019,
      Nucleus segmentation across imaging experiments); 1 for an image without objects and detections.
    - ``precision``, ``recall``, ``F1`` at IoU 0.5: TP / (TP + FP), TP / (TP + FN), 2 TP / (2 TP + FP + FN).
    - ``SQ``, ``PQ`` at IoU 0.5: mean IoU of the matched pairs; SQ times F1 (Kirillov et al. 2019, Panoptic Segmentation).
    - ``dice``: the mean of the area-weighted Dice coefficients of objects and of detections (Sirinukunwattana et al. 2017).
    - ``AJI``, ``AJI+``: by image, then the mean (:func:`~segkit.evaluation.cell_counts.count_cells`).
    - ``split``, ``merged``, ``missed``: shares of the objects; ``spurious``: share of the detections
      (:class:`~segkit.evaluation.cell_counts.CellCounts`).
    - ``count_error``: the mean over images of the absolute difference of detections and objects, divided by the mean
      number of objects in an image.

    With several classes ``AP@0.5-NAME``, ``F1-NAME`` and ``PQ-NAME`` are those of each class.

    Crowds, ignore regions and objects without a mask are not objects here. A detection counts neither way if it has no
    match at IoU 0.5 and either more than half of its pixels are in such regions of its class, or its class is unlabelled
    in the image.

    Args:
        classes: name of each label.
        class_agnostic: whether the model's detections have no class; then all objects are of one.
        predicts_masks: whether the model predicts masks; if not, it is an error.
        score_threshold: smallest score of a detection, as for ``segkit predict``.
        iou_thresholds: those of ``AP@...``, among 0.5, 0.55, ..., 0.95.
        per_class: whether the metrics of each class are reported.
    Raises:
        SegkitError: an argument out of range; a model without masks; SciPy is not installed.
    """

    needs_images = False

    def __init__(
        self,
        classes: Sequence[str],
        class_agnostic: bool = False,
        predicts_masks: bool = True,
        *,
        score_threshold: float = 0.5,
        iou_thresholds: Sequence[float] = (0.5, 0.75, 0.9),
        per_class: bool = True,
    ) -> None:
        if not predicts_masks:
            raise SegkitError("the model predicts no masks, which the evaluator Cells measures; remove it", key="name")
        if not 0 <= score_threshold <= 1:
            raise SegkitError(f"score_threshold: expected 0..1, got {score_threshold}", key="score_threshold")
        positions = [np.flatnonzero(np.isclose(IOU_THRESHOLDS, value)) for value in iou_thresholds]
        if wrong := [value for value, found in zip(iou_thresholds, positions, strict=True) if not len(found)]:
            raise SegkitError(
                f"iou_thresholds: expected some of 0.5, 0.55, ..., 0.95, got {wrong[0]}", key="iou_thresholds"
            )
        if not has_scipy():
            raise MissingPackage("the evaluator Cells needs SciPy: pip install 'segkit[cells]'", key="evaluators")
        self.classes = list(classes)
        self.class_agnostic = class_agnostic
        self.score_threshold = score_threshold
        self.positions = sorted({int(found[0]) for found in positions})
        self.per_class = per_class and not class_agnostic and len(self.classes) > 1
        self._warned_of_masks = False
        self.reset()

    def metric_names(self) -> list[str]:
        ap = [*(f"AP@{IOU_THRESHOLDS[t]:g}" for t in self.positions), "AP@0.5:0.95"]
        names = [*ap, *(f"image_{name}" for name in ap), "precision", "recall", "F1", "SQ", "PQ", "dice", "AJI", "AJI+"]
        names += ["split", "merged", "missed", "spurious", "count_error"]
        if self.per_class:
            names += [f"{metric}-{name}" for name in self.classes for metric in ("AP@0.5", "F1", "PQ")]
        return [f"{PREFIX}/{name}" for name in names]

    def reset(self) -> None:
        self._images: dict[int, dict[int, CellCounts]] = {}  # by image id and label
        self._without_mask = 0

    def process(self, batch: Batch, detections: list[Detections]) -> None:
        rows = zip(batch.image_ids, batch.annotations, batch.targets, detections, strict=True)
        for image_id, truth, targets, found in rows:
            truth = checked_truth(image_id, truth, self._images.keys())
            above = found.scores >= self.score_threshold
            found = found if above.all() else found[above]
            self._images[image_id] = self._count(truth, found, set(targets.unlabelled.tolist()))

    def _count(
        self, truth: Sequence[Mapping[str, Any]], found: Detections, unlabelled: set[int]
    ) -> dict[int, CellCounts]:
        """The counts of each label of an image."""
        self._without_mask += sum(lacks_mask(item) and not item["iscrowd"] for item in truth)
        of_label: dict[int, tuple[list[Any], list[Any], list[Any]]] = defaultdict(lambda: ([], [], []))
        regions = []  # of all classes
        for item in truth:
            if is_region(item):
                regions.append(_rle(item, found.size))
            else:
                objects, ignored, _ = of_label[0 if self.class_agnostic else item["label"]]
                (ignored if item["iscrowd"] or lacks_mask(item) else objects).append(_rle(item, found.size))
        for label, rle in zip(found.labels.tolist(), found.to_rle() if len(found) else [], strict=True):
            of_label[0 if self.class_agnostic else label][2].append(rle)
        unlabelled = {0} if self.class_agnostic and unlabelled else unlabelled
        return {
            label: count_cells(
                _without_ignored(mask_overlaps(objects, rles), rles, ignored + regions, label in unlabelled)
            )
            for label, (objects, ignored, rles) in of_label.items()
        }

    def results(self) -> Any:
        return self._images, self._without_mask

    def merge(self, shares: Sequence[Any]) -> None:
        self._images = merge_images(images for images, _ in shares)
        self._without_mask = sum(without_mask for _, without_mask in shares)

    @property
    def image_counts(self) -> Mapping[int, Mapping[int, CellCounts]]:
        """The counts of each image, by image id and label, since :meth:`reset`; they add up."""
        return self._images

    def evaluate(self) -> dict[str, float]:
        if self._without_mask and not self._warned_of_masks:
            self._warned_of_masks = True
            logger.warning(
                "%d objects evaluated have no mask: for %s their boxes are regions where detections are ignored",
                self._without_mask, PREFIX,
            )  # fmt: skip
        images = [sum(self._images[i].values(), CellCounts()) for i in sorted(self._images)]
        total = sum(images, CellCounts())
        if not total.objects:
            logger.warning("no objects with masks in the %d images evaluated: no metrics of cells", len(images))
            return {}
        metrics = {**self._aps(total), **_image_means([self._aps(image) for image in images])}
        metrics |= _pooled(total)
        metrics["AJI"] = _mean([_ratio(one.aji_intersection, one.aji_union, 1.0) for one in images])
        metrics["AJI+"] = _mean([_ratio(one.aji_plus_intersection, one.aji_plus_union, 1.0) for one in images])
        metrics |= {name: getattr(total, name) / total.objects for name in ("split", "merged", "missed")}
        metrics["spurious"] = _ratio(total.spurious, total.detections, 0.0)
        metrics["count_error"] = sum(abs(one.detections - one.objects) for one in images) / total.objects
        for label, name in enumerate(self.classes if self.per_class else []):
            of_class = sum((image.get(label, CellCounts()) for image in self._images.values()), CellCounts())
            if of_class.objects:
                values = self._aps(of_class) | _pooled(of_class)
                metrics |= {f"{metric}-{name}": values[metric] for metric in ("AP@0.5", "F1", "PQ") if metric in values}
        return {f"{PREFIX}/{name}": float(value) for name, value in metrics.items()}

    def _aps(self, counts: CellCounts) -> dict[str, float]:
        """TP / (TP + FP + FN) at each threshold; 1 without objects and detections."""
        true = counts.true_positives
        wrong = counts.objects + counts.detections - 2 * true
        values = true / (true + wrong) if counts.objects or counts.detections else np.ones(len(IOU_THRESHOLDS))
        reported = {f"AP@{IOU_THRESHOLDS[t]:g}": float(values[t]) for t in self.positions}
        return {**reported, "AP@0.5:0.95": float(values.mean())}


def _pooled(counts: CellCounts) -> dict[str, float]:
    """The metrics at IoU 0.5, and Dice, of summed counts with an object."""
    true, ious = counts.true_positives[IOU_50], counts.matched_ious[IOU_50]
    f1 = 2 * true / (counts.objects + counts.detections)
    quality = _ratio(ious, true, 0.0)
    dice = counts.object_dice / counts.object_area if counts.object_area else 0.0
    return {
        "precision": _ratio(true, counts.detections, 0.0),
        "recall": true / counts.objects,
        "F1": f1,
        "SQ": quality,
        "PQ": quality * f1,
        "dice": (dice + _ratio(counts.detection_dice, counts.detection_area, 0.0)) / 2,
    }


def _image_means(images: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {f"image_{name}": _mean([image[name] for image in images]) for name in images[0]}


def _ratio(part: float, whole: float, otherwise: float) -> float:
    return part / whole if whole else otherwise


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _rle(item: Mapping[str, Any], size: tuple[int, int]) -> Mapping[str, Any]:
    """The mask of an object or region; without one, its box."""
    if not lacks_mask(item):
        return item["segmentation"]
    [rle] = box_rles(np.array([item["bbox"]], np.float64), size)
    return rle


def _without_ignored(overlaps: Overlaps, rles: Sequence[Any], regions: Sequence[Any], unlabelled: bool) -> Overlaps:
    """The overlaps without detections that count neither way.

    Args:
        overlaps: of one class's objects and N detections.
        rles: masks of the detections.
        regions: masks of the regions where detections are ignored.
        unlabelled: whether the class is unlabelled in the image.
    """
    if not rles or not (regions or unlabelled):
        return overlaps
    if unlabelled:
        ignored = np.ones(len(rles), bool)
    else:
        ignored = shares_in(regions, rles) > IGNORED_SHARE
    ignored[overlaps.detections[match_at(overlaps, IOU_THRESHOLDS[IOU_50])]] = False
    return overlaps.select(np.ones(len(overlaps.object_areas), bool), ~ignored)
