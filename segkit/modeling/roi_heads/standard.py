"""One box head and one mask head on sampled proposals: the second stage of Mask R-CNN (He et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.modeling.interfaces import BoxHead, MaskHead, ROIHeads
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.matching import match_targets
from segkit.modeling.layers.sampling import sample_balanced
from segkit.modeling.roi_heads.postprocess import select_detections
from segkit.registry import ROI_BOX_HEAD_REGISTRY, ROI_HEADS_REGISTRY, ROI_MASK_HEAD_REGISTRY, Slot
from segkit.structures.detections import Detections
from segkit.structures.mask_targets import mask_targets
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError


@ROI_HEADS_REGISTRY.register
class StandardROIHeads(ROIHeads):
    """Samples proposals for the losses; scores, moves and masks them at test.

    Args:
        in_features: the feature maps.
        num_classes: K.
        box_head: class and box.
        mask_head: masks; null: boxes only.
        foreground_iou: a proposal belongs to an object from this IoU on, else to the background.
        samples: proposals an image that the losses see.
        positive_fraction: share of them on objects, at most.
        add_objects: take the objects' own boxes among the proposals when training.
        score_threshold: detections below are dropped, also for evaluation.
        nms_threshold: IoU above which the lower-scored of two detections of a class goes.
        detections_per_image: the best so many are kept, in evaluation too.
        min_size: shortest side of a detection, in pixels.
    """

    examples = (
        {"box_head": {"name": "FastRCNNHead", "fc_dims": [16]}, "mask_head": {"name": "FCNMaskHead", "conv_dims": [8]}},
        {"box_head": {"name": "FastRCNNHead", "fc_dims": [16]}, "mask_head": None},
    )

    def __init__(
        self,
        in_features: Mapping[str, FeatureSpec],
        num_classes: int,
        *,
        box_head: Annotated[BoxHead, Slot(ROI_BOX_HEAD_REGISTRY)],
        mask_head: Annotated[MaskHead | None, Slot(ROI_MASK_HEAD_REGISTRY)],
        foreground_iou: float = 0.5,
        samples: int = 512,
        positive_fraction: float = 0.25,
        add_objects: bool = True,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        detections_per_image: int = 100,
        min_size: float = 0.0,
    ) -> None:
        super().__init__()
        shares = {
            "score_threshold": score_threshold,
            "nms_threshold": nms_threshold,
            "foreground_iou": foreground_iou,
            "positive_fraction": positive_fraction,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise SegkitError(f"{name} must lie between 0 and 1, not {value}")
        if samples < 1 or detections_per_image < 1:
            raise SegkitError("samples and detections_per_image must be at least 1")
        self.num_classes = num_classes
        self.box_head = box_head
        self.mask_head = mask_head
        self.foreground_iou = foreground_iou
        self.samples = samples
        self.positive_fraction = positive_fraction
        self.add_objects = add_objects
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.detections_per_image = detections_per_image
        self.min_size = min_size

    def losses(
        self,
        features: Mapping[str, Tensor],
        proposals: Sequence[Tensor],
        targets: Sequence[Targets],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Losses of both heads over the sampled proposals of the batch.

        Args:
            features: maps [B, C, H, W].
            proposals: [P_i, 4] an image.
            targets: an image each, in the pixels of the network's input.
            generator: draws the samples.
        """
        sampled, labels, objects, positives, wanted = [], [], [], [], []
        for boxes, image_targets in zip(proposals, targets, strict=True):
            with torch.no_grad():
                solid = (~image_targets.crowd).nonzero().squeeze(1)
                if self.add_objects:
                    boxes = torch.cat([boxes, image_targets.boxes[solid].float()])
                matches = match_targets(
                    boxes,
                    image_targets,
                    foreground_iou=self.foreground_iou,
                    background_iou=self.foreground_iou,
                    keep_best=False,
                )
                positive, negative = sample_balanced(matches.state, self.samples, self.positive_fraction, generator)
                chosen = torch.cat([positive, negative])
                matched = solid[matches.objects[positive]]
                sampled.append(boxes[chosen])
                labels.append(F.pad(image_targets.labels[matched], (0, len(negative)), value=self.num_classes))
                objects.append(F.pad(image_targets.boxes[matched].float(), (0, 0, 0, len(negative))))
                positives.append(len(positive))
                if self.mask_head is not None:
                    if image_targets.masks is None:
                        raise SegkitError("the model has a mask head, but the targets have no masks")
                    wanted.append(
                        mask_targets(image_targets.masks, matched, boxes[positive], self.mask_head.resolution)
                    )
        all_labels = torch.cat(labels)
        logits, offsets = self.box_head(features, sampled)
        losses = self.box_head.losses(logits, offsets, torch.cat(sampled), all_labels, torch.cat(objects))
        if self.mask_head is not None:
            mask_boxes = [boxes[:count] for boxes, count in zip(sampled, positives, strict=True)]
            mask_labels = torch.cat([image[:count] for image, count in zip(labels, positives, strict=True)])
            mask_logits = self.mask_head(features, mask_boxes)
            losses.update(self.mask_head.losses(mask_logits, mask_labels, torch.cat(wanted)))
        return losses

    @torch.no_grad()
    def predict(
        self, features: Mapping[str, Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detections of each image, best first, in the pixels of the network's input."""
        logits, offsets = self.box_head(features, proposals)
        counts = [len(boxes) for boxes in proposals]
        boxes = self.box_head.decode(offsets, torch.cat(list(proposals))).split(counts)
        scores = logits.float().softmax(dim=1)[:, : self.num_classes].split(counts)
        kept = [
            select_detections(
                image_boxes,
                image_scores,
                size,
                score_threshold=self.score_threshold,
                nms_threshold=self.nms_threshold,
                limit=self.detections_per_image,
                min_size=self.min_size,
            )
            for image_boxes, image_scores, size in zip(boxes, scores, sizes, strict=True)
        ]
        masks: Sequence[Tensor | None] = [None] * len(kept)
        if self.mask_head is not None:
            mask_logits = self.mask_head(features, [b for b, _, _ in kept])
            chosen = self.mask_head.of_class(mask_logits, torch.cat([labels for _, _, labels in kept]))
            masks = chosen.float().sigmoid().split([len(b) for b, _, _ in kept])
        return [
            Detections(boxes=b, scores=s, labels=k, mask_probs=m, size=size)
            for (b, s, k), m, size in zip(kept, masks, sizes, strict=True)
        ]
