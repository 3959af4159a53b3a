"""The panoptic evaluator: each pixel belongs to at most one object."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit.evaluation.coco_matching import EvaluatedImage, lacks_mask, with_ignored_boxes
from segkit.evaluation.evaluator import Evaluator, checked_truth, merge_images
from segkit.evaluation.overlap_evaluator import CLASS_AGNOSTIC
from segkit.evaluation.panoptic_counts import FN, FP, IOU, TP, count_segments
from segkit.evaluation.unannotated import is_region
from segkit.registry import EVALUATOR_REGISTRY
from segkit.structures.masks import InstanceMasks
from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from segkit.structures.detections import Detections
    from segkit.structures.sample import Batch

logger = logging.getLogger(__name__)

PREFIX = "panoptic"
METRICS = ("PQ", "SQ", "RQ")


@EVALUATOR_REGISTRY.register(name="Panoptic")
class PanopticEvaluator(Evaluator):
    """Panoptic quality of the masks at one score threshold (``panoptic/...``).

    Kirillov, He, Girshick, Rother and Dollar 2019, Panoptic Segmentation. Objects and detections become exclusive segments
    first: a pixel is of one object, and of one detection, at most (:func:`~segkit.evaluation.panoptic_counts.count_segments`
    has the rules). A detection and an object of its class match (TP) if their IoU exceeds 0.5; other objects are missed
    (FN), other detections spurious (FP). Counts are summed over images.

    - ``PQ-NAME``: sum of the matches' IoUs / (TP + FP / 2 + FN / 2), of each class;
    - ``SQ-NAME``: mean IoU of the matches, 0 without any;
    - ``RQ-NAME``: TP / (TP + FP / 2 + FN / 2), so that PQ = SQ x RQ;
    - ``PQ``, ``SQ``, ``RQ``: their averages over classes with an object or a detection that counts.

    Ignore regions are void: a detection that is mostly in them does not count, and their pixels are in no union. Crowd
    regions, and the boxes of objects without a mask, are so for detections of their class that match nothing. All other
    pixels without an object are background, where every detection is spurious; in COCO's panoptic data they are void.
    The evaluator ``Cells`` has the PQ of masks that are not made exclusive, of all classes together.

    Args:
        classes: name of each label.
        class_agnostic: whether the model's detections have no class; then all objects are of one.
        predicts_masks: whether the model predicts masks; if not, it is an error.
        score_threshold: smallest score of a detection, as for ``segkit predict``.
        per_class: whether the metrics of each class are reported.
    Raises:
        SegkitError: an argument out of range; a model without masks.
    """

    needs_images = False

    def __init__(
        self,
        classes: Sequence[str],
        class_agnostic: bool = False,
        predicts_masks: bool = True,
        *,
        score_threshold: float = 0.5,
        per_class: bool = True,
    ) -> None:
        if not predicts_masks:
            raise SegkitError(
                "the model predicts no masks, which the evaluator Panoptic measures; remove it", key="name"
            )
        if not 0 <= score_threshold <= 1:
            raise SegkitError(f"score_threshold: expected 0..1, got {score_threshold}", key="score_threshold")
        self.classes = list(CLASS_AGNOSTIC if class_agnostic else classes)
        self.class_agnostic = class_agnostic
        self.score_threshold = score_threshold
        self.per_class = per_class and not class_agnostic
        self._warned = False
        self.reset()

    def metric_names(self) -> list[str]:
        names = [*METRICS, *(f"{metric}-{name}" for name in self.classes if self.per_class for metric in METRICS)]
        return [f"{PREFIX}/{name}" for name in names]

    def reset(self) -> None:
        self._images: dict[int, tuple[np.ndarray, int]] = {}  # counts of each class, and number of hidden objects

    def process(self, batch: Batch, detections: list[Detections]) -> None:
        rows = zip(batch.image_ids, batch.annotations, batch.targets, detections, strict=True)
        for image_id, truth, targets, found in rows:
            truth = checked_truth(image_id, truth, self._images.keys())
            above = found.scores >= self.score_threshold
            found = found if above.all() else found[above]
            image = EvaluatedImage.of(truth, found, targets.unlabelled.tolist(), masks=True)
            self._images[image_id] = self._count(image.of_one_class() if self.class_agnostic else image)

    def _count(self, image: EvaluatedImage) -> tuple[np.ndarray, int]:
        if any(map(lacks_mask, image.truth)):
            [image] = with_ignored_boxes([image])
        objects: list[Mapping[str, Any]] = []
        regions: dict[int | None, list[Mapping[str, Any]]] = defaultdict(list)
        for item in image.truth:
            if not item["iscrowd"]:
                objects.append(item)
            else:
                regions[None if is_region(item) else item["label"]].append(item["segmentation"])
        return count_segments(
            InstanceMasks.from_rle([item["segmentation"] for item in objects], image.size),
            [item["label"] for item in objects],
            InstanceMasks.from_rle(image.rles(), image.size),
            image.scores,
            image.labels.tolist(),
            {label: InstanceMasks.from_rle(rles, image.size) for label, rles in regions.items()},
            set(image.unlabelled),
            len(self.classes),
        )

    def results(self) -> Any:
        return self._images

    def merge(self, shares: Sequence[Any]) -> None:
        self._images = merge_images(shares)

    def evaluate(self) -> dict[str, float]:
        hidden = sum(count for _, count in self._images.values())
        if hidden and not self._warned:
            self._warned = True
            logger.warning(
                "objects that are empty or lie under smaller ones, and so are no segments for %s: %d", PREFIX, hidden
            )
        counts = sum((self._images[i][0] for i in sorted(self._images)), np.zeros((len(self.classes), 4)))
        weights = counts[:, TP] + (counts[:, FP] + counts[:, FN]) / 2
        known = np.flatnonzero(weights)
        if not (counts[:, TP] + counts[:, FN]).any():
            logger.warning("no objects with masks in the %d images evaluated: no panoptic metrics", len(self._images))
            return {}
        values = np.zeros((len(self.classes), len(METRICS)))
        values[known, 0] = counts[known, IOU] / weights[known]
        values[known, 1] = counts[known, IOU] / np.maximum(counts[known, TP], 1)
        values[known, 2] = counts[known, TP] / weights[known]
        metrics = dict(zip(METRICS, values[known].mean(axis=0).tolist(), strict=True))
        for label in known.tolist() if self.per_class else ():
            named = [f"{metric}-{self.classes[label]}" for metric in METRICS]
            metrics |= dict(zip(named, values[label].tolist(), strict=True))
        return {f"{PREFIX}/{name}": value for name, value in metrics.items()}
