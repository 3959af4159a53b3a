"""The boundary evaluator: AP that asks for exact outlines, of large objects too."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from segkit.evaluation.boundaries import BoundaryOverlaps, boundary_overlaps, boundary_width
from segkit.evaluation.coco_matching import EvaluatedImage
from segkit.evaluation.greedy_matching import match_detections
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps, image_overlaps
from segkit.evaluation.overlap_evaluator import OverlapEvaluator
from segkit.evaluation.overlaps import Overlaps
from segkit.evaluation.size_metrics import SIZE_METRICS, class_metric_names, class_metrics, known, size_metrics
from segkit.registry import EVALUATOR_REGISTRY
from segkit.structures.score_thresholds import reaches
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)

PREFIX = "boundary"
MASK_IOU = 0.5  # of the pairs whose boundary IoU is averaged


@EVALUATOR_REGISTRY.register(name="Boundary")
class BoundaryEvaluator(OverlapEvaluator):
    """Boundary AP and mean boundary IoU of masks (``boundary/...``).

    Cheng, Girshick, Dollar, Berg and Kirillov 2021, Boundary IoU: Improving Object-Centric Image Segmentation Evaluation.
    The boundary of a mask are its pixels within d of its outline, and the boundary IoU of two masks is the IoU of their
    boundaries. It stays sensitive to the outline where mask IoU is not, for large objects.

    - ``AP``, ``AP50``, ``AP75``, ``AR`` and by size (``APs``, ``APm``, ``APl``, ``ARs``, ...): COCO's, with ``min(mask IoU,
      boundary IoU)`` in place of the mask IoU, as in the authors' boundary-iou-api. d is ``dilation_ratio`` times the image's
      diagonal, rounded, at least one pixel.
    - ``IoU``: the mean boundary IoU of the objects and the detections that match them at mask IoU 0.5, of detections that
      score at least ``score_threshold``. It says how good the outlines of the found objects are, and nothing of the others.

    ``per_class`` adds ``AP-NAME``, ``AP50-NAME`` and ``AP75-NAME``. Crowds, ignore regions, objects without a mask and
    classes that are unlabelled in an image count as for the evaluator COCO, by masks.

    Args:
        classes: name of each label.
        max_detections: the model's limit per image, here of each class.
        class_agnostic: whether the model's detections have no class; then all objects are of one.
        predicts_masks: whether the model predicts masks; if not, it is an error.
        dilation_ratio: d divided by the image's diagonal.
        score_threshold: of ``IoU``.
        per_class: whether the AP of each class is reported.
    Raises:
        SegkitError: an argument out of range; a model without masks.
    """

    def __init__(
        self,
        classes: Sequence[str],
        max_detections: int,
        class_agnostic: bool = False,
        predicts_masks: bool = True,
        *,
        dilation_ratio: float = 0.02,
        score_threshold: float = 0.5,
        per_class: bool = True,
    ) -> None:
        if not predicts_masks:
            raise SegkitError(
                "the model predicts no masks, which the evaluator Boundary measures; remove it", key="name"
            )
        if not 0 < dilation_ratio <= 1:
            raise SegkitError(
                f"dilation_ratio: expected a share above 0, to 1; got {dilation_ratio}", key="dilation_ratio"
            )
        if not 0 <= score_threshold <= 1:
            raise SegkitError(f"score_threshold: expected 0..1, got {score_threshold}", key="score_threshold")
        super().__init__(classes, max_detections, class_agnostic, iou_type="segm")
        self.dilation_ratio = dilation_ratio
        self.score_threshold = score_threshold
        self.per_class = per_class and not class_agnostic

    def metric_names(self) -> list[str]:
        names = [*SIZE_METRICS, "IoU", *(class_metric_names(self.classes) if self.per_class else [])]
        return [f"{PREFIX}/{name}" for name in names]

    def overlaps_of(self, image_id: int, image: EvaluatedImage) -> ImageOverlaps:
        found = image_overlaps(image_id, image, "segm")
        objects = [image.truth[i]["segmentation"] for i in found.object_ids.tolist()]
        width = boundary_width(image.size, self.dilation_ratio)
        return replace(found, overlaps=boundary_overlaps(found.overlaps, objects, image.rles(), image.size, width))

    def metrics(self, data: DatasetOverlaps) -> dict[str, float]:
        metrics, aps = size_metrics(data)
        if metrics["AP"] is None:
            logger.warning(
                "no objects with masks in the %d images evaluated: no metrics of boundaries", len(data.images)
            )
            return {}
        ious = np.concatenate([self._matched_ious(image) for image in data.images])
        metrics["IoU"] = float(ious.mean()) if len(ious) else None
        if self.per_class:
            metrics |= class_metrics(aps, self.classes)
        return known(PREFIX, metrics)

    def _matched_ious(self, image: ImageOverlaps) -> np.ndarray:
        """The boundary IoUs of the pairs of masks that match at IoU 0.5 and score enough."""
        pairs = image.overlaps
        assert isinstance(pairs, BoundaryOverlaps)
        masks = Overlaps(
            pairs.objects, pairs.detections, pairs.intersections, pairs.object_areas, pairs.detection_areas
        )
        matched = match_detections(
            replace(image, overlaps=masks), [MASK_IOU], max_detections=self.max_detections
        ).objects[0]
        above = reaches(image.scores, self.score_threshold)
        chosen = (matched[pairs.detections] == pairs.objects) & above[pairs.detections]
        return pairs.boundary_ious[chosen]
