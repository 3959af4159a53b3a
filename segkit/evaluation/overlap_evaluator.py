"""The base of evaluators that work on the overlaps of objects and detections."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from segkit.evaluation.coco_matching import EvaluatedImage, IouType
from segkit.evaluation.evaluator import Evaluator, checked_truth, merge_images
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps, image_overlaps
from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from segkit.structures.detections import Detections
    from segkit.structures.sample import Batch

CLASS_AGNOSTIC = ("object",)  # the one class of a model whose detections have none


class OverlapEvaluator(Evaluator):
    """Keeps the overlaps of each batch; subclasses compute metrics from all of them.

    Args:
        classes: name of each label.
        max_detections: the model's limit per image.
        class_agnostic: whether the model's detections have no class; then all objects are of one, ``object``.
        predicts_masks: whether the model predicts masks; if not, ``segm`` is an error.
        iou_type: whether masks (``segm``) or boxes (``bbox``) overlap; None: masks, or boxes of a model without them.
    Raises:
        SegkitError: masks of a model that predicts none.
    """

    needs_images = False

    def __init__(
        self,
        classes: Sequence[str],
        max_detections: int,
        class_agnostic: bool = False,
        predicts_masks: bool = True,
        *,
        iou_type: IouType | None = None,
    ) -> None:
        iou_type = iou_type or ("segm" if predicts_masks else "bbox")
        if iou_type not in ("bbox", "segm"):
            raise SegkitError(f"iou_type: expected bbox or segm, got {iou_type}", key="iou_type", value=iou_type)
        if iou_type == "segm" and not predicts_masks:
            raise SegkitError(
                f"the model predicts no masks, which the evaluator {type(self).__name__} measures; set iou_type: bbox",
                key="iou_type",
            )
        self.iou_type: IouType = iou_type
        self.classes = list(CLASS_AGNOSTIC if class_agnostic else classes)
        self.class_agnostic = class_agnostic
        self.max_detections = max_detections
        self.reset()

    def reset(self) -> None:
        self._images: dict[int, ImageOverlaps] = {}

    def process(self, batch: Batch, detections: list[Detections]) -> None:
        rows = zip(batch.image_ids, batch.annotations, batch.targets, detections, strict=True)
        for image_id, truth, targets, found in rows:
            truth = checked_truth(image_id, truth, self._images.keys())
            image = EvaluatedImage.of(truth, found, targets.unlabelled.tolist(), masks=self.iou_type == "segm")
            if self.class_agnostic:
                image = image.of_one_class()
            self._images[image_id] = self.overlaps_of(image_id, image)

    def overlaps_of(self, image_id: int, image: EvaluatedImage) -> ImageOverlaps:
        """Computes what is kept of an image; a subclass may replace the overlaps by others."""
        return image_overlaps(image_id, image, self.iou_type)

    def results(self) -> Mapping[int, ImageOverlaps]:
        return self._images

    def merge(self, shares: Sequence[Any]) -> None:
        self._images = merge_images(shares)

    @property
    def data(self) -> DatasetOverlaps:
        """The overlaps of the images since :meth:`reset`."""
        images = [self._images[i] for i in sorted(self._images)]
        return DatasetOverlaps(images, self.classes, self.iou_type, self.max_detections)

    def evaluate(self) -> dict[str, float]:
        return self.metrics(self.data)

    @abstractmethod
    def metrics(self, data: DatasetOverlaps) -> dict[str, float]:
        """Returns the metrics of all images; those without ground truth are absent."""
