"""One box head and one mask head on sampled proposals: the second stage of Mask R-CNN (He et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor

from segkit.modeling.interfaces import BoxHead, MaskHead, ROIHeads
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.nonfinite import require_finite
from segkit.modeling.roi_heads.labelling import joined, mask_losses, sample_proposals
from segkit.modeling.roi_heads.options import check_options
from segkit.modeling.roi_heads.postprocess import masked_detections, select_detections
from segkit.registry import ROI_BOX_HEAD_REGISTRY, ROI_HEADS_REGISTRY, ROI_MASK_HEAD_REGISTRY, Slot
from segkit.structures.detections import Detections
from segkit.structures.targets import Targets


@ROI_HEADS_REGISTRY.register
class StandardROIHeads(ROIHeads):
    """Samples proposals for the losses; scores, moves and masks them at test.

    Args:
        in_features: the feature maps.
        num_classes: K.
        box_head: class and box.
        mask_head: masks; null: boxes only.
        fg_iou_threshold: a proposal belongs to an object from this IoU on, else to the background.
        samples: proposals an image that the losses see.
        positive_fraction: share of them on objects, at most.
        append_gt_boxes: take the objects' own boxes among the proposals when training.
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
        fg_iou_threshold: float = 0.5,
        samples: int = 512,
        positive_fraction: float = 0.25,
        append_gt_boxes: bool = True,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        detections_per_image: int = 100,
        min_size: float = 0.0,
    ) -> None:
        super().__init__()
        check_options(
            shares={
                "score_threshold": score_threshold,
                "nms_threshold": nms_threshold,
                "fg_iou_threshold": fg_iou_threshold,
                "positive_fraction": positive_fraction,
            },
            counts={"samples": samples, "detections_per_image": detections_per_image},
        )
        self.num_classes = num_classes
        self.box_head = box_head
        self.mask_head = mask_head
        self.fg_iou_threshold = fg_iou_threshold
        self.samples = samples
        self.positive_fraction = positive_fraction
        self.append_gt_boxes = append_gt_boxes
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
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> dict[str, Tensor]:
        """Losses of both heads over the sampled proposals of the batch.

        Args:
            features: maps [B, C, H, W].
            proposals: [P_i, 4] an image.
            targets: an image each, in the pixels of the network's input.
            generator: draws the samples; None: torch's global random state does.
            sizes: not needed here.
        """
        sampled = sample_proposals(
            proposals,
            targets,
            num_classes=self.num_classes,
            fg_iou_threshold=self.fg_iou_threshold,
            samples=self.samples,
            positive_fraction=self.positive_fraction,
            append_gt_boxes=self.append_gt_boxes,
            generator=generator,
        )
        logits, offsets = self.box_head(features, [image.boxes for image in sampled])
        losses = self.box_head.losses(logits, offsets, *joined(sampled))
        if self.mask_head is not None:
            losses.update(mask_losses(self.mask_head, features, sampled, targets))
        return losses

    @torch.no_grad()
    def predict(
        self, features: Mapping[str, Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detections of each image, best first, in the pixels of the network's input.

        Raises:
            NotFiniteError: a head gives NaN or infinity.
        """
        logits, offsets = self.box_head(features, proposals)
        require_finite("the class scores or box offsets", logits, offsets)
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
        return masked_detections(self.mask_head, features, kept, sizes)
