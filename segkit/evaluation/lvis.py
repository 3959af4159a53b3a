"""The LVIS evaluator: AP of data in which each image is annotated for some classes only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from segkit.evaluation.average_precision import mean_ap
from segkit.evaluation.coco_matching import IouType
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.evaluation.overlap_evaluator import OverlapEvaluator
from segkit.evaluation.size_metrics import SIZE_METRICS, class_metric_names, class_metrics, known, size_metrics
from segkit.registry import EVALUATOR_REGISTRY
from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from segkit.structures.detections import Detections
    from segkit.structures.sample import Batch

logger = logging.getLogger(__name__)

FREQUENCIES = ("r", "c", "f")  # rare: in 1 to 10 training images; common: 11 to 100; frequent: more


@EVALUATOR_REGISTRY.register(name="LVIS")
class LvisEvaluator(OverlapEvaluator):
    """LVIS's federated AP and AR of masks (``lvis_segm/...``) or boxes (``lvis_bbox/...``).

    Gupta, Dollar and Girshick 2019, LVIS: A Dataset for Large Vocabulary Instance Segmentation, section 3.3. In each image
    the objects of a class are either all annotated, known to be absent, annotated in part, or unknown. AP and AR are those
    of COCO, with three differences:

    - the 300 detections with the highest scores in an image count, of all classes together;
    - detections of a class that is unknown in their image do not count;
    - of a class that is annotated in part, a detection without a match does not count.

    The last two are one rule here: an unmatched detection of a class that is ``unlabelled`` in its image counts neither way.
    A class that is unknown in an image has no objects there, so all its detections are unmatched.

    ``AP``, ``AP50``, ``AP75``, ``AR``, and AP and AR by size (``APs``, ``APm``, ``APl``, ``ARs``, ...) are averages over
    classes with objects; ``APr``, ``APc``, ``APf`` over the rare, common and frequent ones. ``per_class`` adds ``AP-NAME``,
    ``AP50-NAME`` and ``AP75-NAME``. The metrics equal those of the package lvis and of hotcoco's LVISEval on LVIS's data;
    on all other data ignore regions and classes without exhaustive annotation count as for the evaluator COCO.

    Args:
        classes: name of each label.
        max_detections: the model's limit per image. This evaluator has its own: a model that detects fewer objects should
            have ``detections_per_image: 300``.
        class_agnostic: whether the model's detections have no class; then all objects are of one.
        predicts_masks: whether the model predicts masks; if not, ``segm`` is an error.
        frequencies: ``r``, ``c`` or ``f`` of each label, None if unknown; empty if the data have none. Then ``APr``,
            ``APc`` and ``APf`` are absent.
        iou_type: ``segm`` or ``bbox``; None: masks, or boxes of a model without them.
        detections_per_image: the most detections of an image that count.
        per_class: whether the AP of each class is reported.
    Raises:
        SegkitError: an argument out of range; masks of a model that predicts none.
    """

    def __init__(
        self,
        classes: Sequence[str],
        max_detections: int,
        class_agnostic: bool = False,
        predicts_masks: bool = True,
        frequencies: Sequence[str | None] = (),
        *,
        iou_type: IouType | None = None,
        detections_per_image: int = 300,
        per_class: bool = False,
    ) -> None:
        if detections_per_image < 1:
            raise SegkitError(
                f"detections_per_image: expected at least 1, got {detections_per_image}", key="detections_per_image"
            )
        # No limit per class: the limit per image is applied before.
        super().__init__(classes, detections_per_image, class_agnostic, predicts_masks, iou_type=iou_type)
        self.frequencies = [] if class_agnostic else list(frequencies)
        self.per_class = per_class and not class_agnostic
        self._noted = False

    @property
    def prefix(self) -> str:
        """The metrics' kind, the part of their names before the slash."""
        return f"lvis_{self.iou_type}"

    def metric_names(self) -> list[str]:
        names = [*SIZE_METRICS, *(f"AP{frequency}" for frequency in FREQUENCIES)]
        names += class_metric_names(self.classes) if self.per_class else []
        return [f"{self.prefix}/{name}" for name in names]

    def process(self, batch: Batch, detections: list[Detections]) -> None:
        super().process(batch, [_best(found, self.max_detections) for found in detections])

    def metrics(self, data: DatasetOverlaps) -> dict[str, float]:
        metrics, aps = size_metrics(data)
        if metrics["AP"] is None:
            logger.warning("no objects in the %d images evaluated: no metrics of LVIS", len(data.images))
            return {}
        if not any(self.frequencies) and not self._noted:
            self._noted = True
            logger.info("the data have no frequencies of classes, so that APr, APc and APf are not computed")
        for frequency in FREQUENCIES:
            labels = [label for label, found in enumerate(self.frequencies) if found == frequency]
            metrics[f"AP{frequency}"] = mean_ap(aps[:, labels])
        if self.per_class:
            metrics |= class_metrics(aps, self.classes)
        return known(self.prefix, metrics)


def _best(found: Detections, limit: int) -> Detections:
    """The detections with the highest scores, in their order; of equal scores the first."""
    if len(found) <= limit:
        return found
    chosen = torch.argsort(found.scores, descending=True, stable=True)[:limit]
    return found[chosen.sort().values]
