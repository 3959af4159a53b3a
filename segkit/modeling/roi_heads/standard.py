"""Standard RoI heads: the second stage of Faster and Mask R-CNN (He et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor

from segkit.modeling.interfaces import BoxHead, MaskHead, ROIHeads
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.nonfinite import require_finite
from segkit.modeling.roi_heads.mask_loss import mask_losses
from segkit.modeling.roi_heads.options import check_options
from segkit.modeling.roi_heads.postprocess import masked_detections, select_detections
from segkit.modeling.roi_heads.proposal_sampling import box_head_losses, label_and_sample_proposals
from segkit.registry import ROI_BOX_HEAD_REGISTRY, ROI_HEADS_REGISTRY, ROI_MASK_HEAD_REGISTRY, Slot
from segkit.structures.detections import Detections
from segkit.structures.targets import Targets


@ROI_HEADS_REGISTRY.register
class StandardROIHeads(ROIHeads):
    """One box head and one mask head, trained on sampled proposals.

    Args:
        in_features: the feature maps.
        num_classes: K.
        box_head: class and box of each proposal.
        mask_head: masks; null: detections without masks.
        fg_iou_threshold: a proposal is foreground from this IoU with an object on, else background.
        batch_size_per_image: proposals of each image that are sampled for the losses.
        positive_fraction: largest share of foreground among them.
        append_gt_boxes: add the ground-truth boxes to the proposals in training.
        score_threshold: detections with a lower score are removed, in evaluation too.
        nms_threshold: of two detections of a class with a larger IoU, the one with the lower score is removed.
        detections_per_image: number of detections of an image at most, in evaluation too.
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
        batch_size_per_image: int = 512,
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
            counts={"batch_size_per_image": batch_size_per_image, "detections_per_image": detections_per_image},
        )
        self.num_classes = num_classes
        self.box_head = box_head
        self.mask_head = mask_head
        self.fg_iou_threshold = fg_iou_threshold
        self.batch_size_per_image = batch_size_per_image
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
            features: maps [B, C, H, W] by name.
            proposals: [P_i, 4] of each image.
            targets: of each image, in the pixels of the network's input.
            generator: samples the proposals; None: torch's global random state.
            sizes: not used here.
        """
        sampled = label_and_sample_proposals(
            proposals,
            targets,
            num_classes=self.num_classes,
            fg_iou_threshold=self.fg_iou_threshold,
            batch_size_per_image=self.batch_size_per_image,
            positive_fraction=self.positive_fraction,
            append_gt_boxes=self.append_gt_boxes,
            generator=generator,
        )
        logits, pred_deltas = self.box_head(features, [image.boxes for image in sampled])
        losses = box_head_losses(self.box_head, logits, pred_deltas, sampled, targets, self.num_classes)
        if self.mask_head is not None:
            losses.update(mask_losses(self.mask_head, features, sampled, targets))
        return losses

    @torch.no_grad()
    def predict(
        self, features: Mapping[str, Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Detections of each image, best first, in the pixels of the network's input.

        Raises:
            NotFiniteError: a head's output is NaN or infinite.
        """
        return masked_detections(self.mask_head, features, self._kept(features, proposals, sizes), sizes)

    @torch.no_grad()
    def predict_boxes(
        self, features: Mapping[str, Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        return masked_detections(None, features, self._kept(features, proposals, sizes), sizes)

    def _kept(
        self, features: Mapping[str, Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes, scores and labels of each image after NMS."""
        logits, pred_deltas = self.box_head(features, proposals)
        require_finite("the class scores or box deltas", logits, pred_deltas)
        counts = [len(boxes) for boxes in proposals]
        boxes = self.box_head.decode(pred_deltas, torch.cat(list(proposals))).split(counts)
        scores = logits.float().softmax(dim=1)[:, : self.num_classes].split(counts)
        return [
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

    def class_log_probs(
        self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> Tensor:
        logits, _ = self.box_head(features, boxes)
        return logits.float().log_softmax(dim=1)
