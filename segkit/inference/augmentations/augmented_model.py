"""A model that predicts several views of each image and merges them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segkit.inference.augmentations.base import TestAugmentation, combined_views
from segkit.inference.augmentations.box_fusion import fuse_boxes
from segkit.modeling.layers.boxes import clip_boxes
from segkit.structures.detections import Detections
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

NMS_THRESHOLD = 0.5  # of models whose heads have none
NEEDED = ("predict_boxes", "predict_mask_probs", "predicts_masks", "detections_per_image")


class AugmentedModel:
    """Predicts views of each image, and merges boxes and mask probabilities before the decision.

    The boxes that all views lead to are fused first (:func:`fuse_boxes`). The mask head then predicts the masks of these
    boxes in each view, and the mean of the probabilities decides. It has the ``predict`` of a model, so that pipelines and
    tiles take it in a model's place. Features of all views are in memory until a batch is done.

    Args:
        model: has ``predict_boxes``, ``predict_mask_probs``, ``predicts_masks`` and ``detections_per_image``, as segkit's
            detectors have.
        augmentations: their views are combined.
    Raises:
        SegkitError: the model has not all of them.
    """

    def __init__(self, model: Any, augmentations: Sequence[TestAugmentation]) -> None:
        missing = [name for name in NEEDED if not hasattr(model, name)]
        if missing:
            raise SegkitError(
                f"predict.augmentations: {type(model).__name__} has no {', '.join(missing)}, from which views are merged; "
                "define them as in segkit.modeling.meta_arch.detector.Detector, or remove predict.augmentations",
                key="predict.augmentations",
            )
        self.model, self.augmentations = model, list(augmentations)

    @torch.no_grad()
    def predict(
        self, images: Sequence[Tensor], output_sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[Detections]:
        """Detections of each image, best first; the arguments are those of a model's ``predict``."""
        sizes = [(int(image.shape[1]), int(image.shape[2])) for image in images]
        if output_sizes is not None and len(output_sizes) != len(images):
            raise SegkitError(f"{len(output_sizes)} output sizes for {len(images)} images")
        samples = [
            Sample(image, Targets.empty(size), 0, "", size, None) for image, size in zip(images, sizes, strict=True)
        ]
        # [image][view] -> [view][image]: the views of all images have the same operations in the same order.
        of_images = [combined_views(self.augmentations, sample) for sample in samples]
        if len({len(views) for views in of_images}) > 1:  # a scale may leave a tiny image as it is
            sizes = list(output_sizes or sizes)
            return [self.predict([image], [size])[0] for image, size in zip(images, sizes, strict=True)]
        views = list(zip(*of_images, strict=True))
        seen = [self.model.predict_boxes([one.image for one in view]) for view in views]
        fused = [
            self._fused([found[i] for _, found in seen], [view[i] for view in views], sizes[i])
            for i in range(len(images))
        ]
        probs = self._mask_probs([features for features, _ in seen], views, fused)
        detections = [
            Detections(boxes, scores, labels, mask_probs, size)
            for (boxes, scores, labels), mask_probs, size in zip(fused, probs, sizes, strict=True)
        ]
        return [one.resized(size) for one, size in zip(detections, output_sizes or sizes, strict=True)]

    def _fused(
        self, found: Sequence[Detections], views: Sequence[Sample], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels of one image's objects, from those in each of its views."""
        boxes = torch.cat([_to_image(one.boxes, view) for one, view in zip(found, views, strict=True)])
        scores, labels = (torch.cat([getattr(one, name) for one in found]) for name in ("scores", "labels"))
        of_view = torch.cat([torch.full_like(one.labels, i) for i, one in enumerate(found)])
        heads = getattr(self.model, "roi_heads", self.model)
        boxes, scores, labels = fuse_boxes(
            clip_boxes(boxes, size),
            scores,
            labels,
            of_view,
            num_views=len(views),
            iou_threshold=getattr(heads, "nms_threshold", NMS_THRESHOLD),
        )
        kept = (scores > getattr(heads, "score_threshold", 0.0)).nonzero()[: self.model.detections_per_image, 0]
        return boxes[kept], scores[kept], labels[kept]

    def _mask_probs(
        self,
        features: Sequence[Any],
        views: Sequence[Sequence[Sample]],
        fused: Sequence[tuple[Tensor, Tensor, Tensor]],
    ) -> list[Tensor | None]:
        """The mean of the mask probabilities over the views, [N, M, M] of each image; None without masks."""
        if not self.model.predicts_masks:
            return [None] * len(fused)
        labels = [image_labels for _, _, image_labels in fused]
        sums: list[Tensor | None] = [None] * len(fused)
        for of_view, view in zip(features, views, strict=True):
            boxes = [_to_view(image_boxes, one) for (image_boxes, _, _), one in zip(fused, view, strict=True)]
            for i, probs in enumerate(self.model.predict_mask_probs(of_view, boxes, labels)):
                upright = view[i].known_geometry.grids_to_file(probs)
                total = sums[i]
                sums[i] = upright if total is None else total + upright
        return [None if total is None else total / len(views) for total in sums]


def _to_image(boxes: Tensor, view: Sample) -> Tensor:
    """Boxes of a view in the image's pixels."""
    geometry = view.known_geometry
    return geometry.boxes_to_file(geometry.upright_boxes(boxes)).to(boxes.dtype)


def _to_view(boxes: Tensor, view: Sample) -> Tensor:
    """Boxes of the image in a view's pixels."""
    return view.known_geometry.boxes_from_file(boxes).to(boxes.dtype)
