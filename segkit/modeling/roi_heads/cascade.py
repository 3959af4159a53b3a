"""Cascade RoI heads: box heads that refine boxes in stages (Cai and Vasconcelos 2018)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from segkit.modeling.interfaces import BoxHead, MaskHead, ROIHeads
from segkit.modeling.layers.boxes import clip_boxes, has_area
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.scale_gradient import scale_gradient
from segkit.modeling.nonfinite import require_finite
from segkit.modeling.roi_heads.mask_loss import mask_losses
from segkit.modeling.roi_heads.options import check_options
from segkit.modeling.roi_heads.postprocess import masked_detections, select_detections
from segkit.modeling.roi_heads.proposal_sampling import (
    LabelledProposals,
    box_head_losses,
    label_and_sample_proposals,
    label_proposals,
)
from segkit.registry import ROI_BOX_HEAD_REGISTRY, ROI_HEADS_REGISTRY, ROI_MASK_HEAD_REGISTRY, Slot, SlotList
from segkit.structures.detections import Detections
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError


@ROI_HEADS_REGISTRY.register
class CascadeROIHeads(ROIHeads):
    """Stages of box heads, each refining the boxes of the stage before at a higher threshold.

    The first stage trains on sampled proposals. Each later stage trains on all boxes of the stage before, matched again
    at its own threshold; no gradient passes through the boxes. At test, the scores are the mean over all stages and the
    boxes are the last stage's, in which the masks are predicted. In training, the mask head uses the sampled proposals
    of the first stage.

    Args:
        in_features: the feature maps.
        num_classes: K.
        box_heads: one class-agnostic head for each stage. Later deltas are smaller, so their ``box_weights`` are larger.
        mask_head: masks; null: detections without masks.
        fg_iou_thresholds: one for each stage: a box is foreground from this IoU with an object on, else background.
        batch_size_per_image: proposals of each image that are sampled for the first stage.
        positive_fraction: largest share of foreground among them.
        append_gt_boxes: add the ground-truth boxes to the proposals in training.
        score_threshold: detections with a lower score are removed, in evaluation too.
        nms_threshold: of two detections of a class with a larger IoU, the one with the lower score is removed.
        detections_per_image: number of detections of an image at most, in evaluation too.
        min_size: shortest side of a detection, in pixels.

    Attributes:
        degenerate: int64 [stages - 1], number of boxes that each stage but the last has moved out of the image, or made
            NaN or infinite, in training. The next stage skips them. The count is kept for each process and not saved.
    """

    examples = (
        {
            "box_heads": [{"name": "FastRCNNHead", "fc_dims": [16], "class_agnostic": True}] * 2,
            "fg_iou_thresholds": [0.5, 0.6],
            "mask_head": {"name": "FCNMaskHead", "conv_dims": [8]},
        },
    )
    degenerate: Tensor

    def __init__(
        self,
        in_features: Mapping[str, FeatureSpec],
        num_classes: int,
        *,
        box_heads: Annotated[Sequence[BoxHead], SlotList(ROI_BOX_HEAD_REGISTRY)],
        mask_head: Annotated[MaskHead | None, Slot(ROI_MASK_HEAD_REGISTRY)],
        fg_iou_thresholds: Sequence[float] = (0.5, 0.6, 0.7),
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
                "positive_fraction": positive_fraction,
                **{f"fg_iou_thresholds.{i}": iou for i, iou in enumerate(fg_iou_thresholds)},
            },
            counts={
                "batch_size_per_image": batch_size_per_image,
                "detections_per_image": detections_per_image,
                "box_heads": len(box_heads),
            },
        )
        if len(box_heads) != len(fg_iou_thresholds):
            raise SegkitError(
                f"box_heads and fg_iou_thresholds need one entry for each stage: there are {len(box_heads)} heads and "
                f"{len(fg_iou_thresholds)} thresholds"
            )
        for i, head in enumerate(box_heads):
            if not head.class_agnostic:
                raise SegkitError(
                    f"box_heads.{i}: a stage passes on one box for each proposal; set class_agnostic: true"
                )
        self.num_classes = num_classes
        self.box_heads = nn.ModuleList(box_heads)
        self.mask_head = mask_head
        self.fg_iou_thresholds = tuple(fg_iou_thresholds)
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.append_gt_boxes = append_gt_boxes
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.detections_per_image = detections_per_image
        self.min_size = min_size
        self.register_buffer("degenerate", torch.zeros(len(box_heads) - 1, dtype=torch.int64), persistent=False)

    def losses(
        self,
        features: Mapping[str, Tensor],
        proposals: Sequence[Tensor],
        targets: Sequence[Targets],
        generator: torch.Generator | None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> dict[str, Tensor]:
        """Losses of all stages, ``cls_stage1``, ``box_stage1``, ..., and the mask head's.

        Args:
            features: maps [B, C, H, W] by name.
            proposals: [P_i, 4] of each image.
            targets: of each image, in the pixels of the network's input.
            generator: samples the proposals of the first stage; None: torch's global random state.
            sizes: (height, width) of each image, which refined boxes are clipped to.
        """
        assert sizes is not None, "a cascade clips its boxes to the images"
        sampled = label_and_sample_proposals(
            proposals,
            targets,
            num_classes=self.num_classes,
            fg_iou_threshold=self.fg_iou_thresholds[0],
            batch_size_per_image=self.batch_size_per_image,
            positive_fraction=self.positive_fraction,
            append_gt_boxes=self.append_gt_boxes,
            generator=generator,
        )
        # The gradient of the shared features is the mean over the stages. Scaling the maps is the same as scaling the
        # pooled features of each stage, and is done once.
        shared = {name: scale_gradient(feature, 1.0 / len(self.box_heads)) for name, feature in features.items()}
        losses: dict[str, Tensor] = {}
        boxes = list(proposals)
        for stage, head in enumerate(self.box_heads):
            assert isinstance(head, BoxHead)
            labelled = sampled if stage == 0 else self._match_again(stage, boxes, targets)
            boxes = [image.boxes for image in labelled]
            logits, pred_deltas = head(shared, boxes)
            stage_losses = box_head_losses(head, logits, pred_deltas, labelled, targets, self.num_classes)
            losses.update({f"{name}_stage{stage + 1}": loss for name, loss in stage_losses.items()})
            boxes = refine(head, pred_deltas, boxes, sizes)
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
        boxes, probabilities = list(proposals), []
        for head in self.box_heads:
            assert isinstance(head, BoxHead)
            logits, pred_deltas = head(features, boxes)
            require_finite("the class scores or box deltas", logits, pred_deltas)
            # Boxes without area stay until NMS, so that all stages score the same boxes in the same order.
            boxes = refine(head, pred_deltas, boxes, sizes)
            probabilities.append(logits.float().softmax(dim=1))
        scores = torch.stack(probabilities).mean(dim=0)[:, : self.num_classes].split([len(b) for b in boxes])
        return [
            select_detections(
                image_boxes[:, None].expand(-1, self.num_classes, 4),
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
        """Logarithm of the mean over all stages; each scores the boxes refined before it."""
        refined, of_stages = list(boxes), []
        for head in self.box_heads:
            assert isinstance(head, BoxHead)
            logits, pred_deltas = head(features, refined)
            refined = refine(head, pred_deltas, refined, sizes)
            of_stages.append(logits.float().log_softmax(dim=1))
        return torch.stack(of_stages).logsumexp(dim=0) - math.log(len(of_stages))

    def _match_again(self, stage: int, boxes: Sequence[Tensor], targets: Sequence[Targets]) -> list[LabelledProposals]:
        """The boxes of the stage before that have an area, labelled at this stage's threshold."""
        if self.training:
            self.degenerate[stage - 1] += (~has_area(torch.cat(list(boxes)))).sum()
        iou = self.fg_iou_thresholds[stage]
        return label_proposals(boxes, targets, num_classes=self.num_classes, fg_iou_threshold=iou)


@torch.no_grad()
def refine(
    head: BoxHead, pred_deltas: Tensor, boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """Boxes [N_i, 4] of each image moved by their deltas and clipped, without gradient.

    Args:
        head: class-agnostic.
        pred_deltas: [sum N_i, 1, 4].
        boxes: [N_i, 4] of each image.
        sizes: (height, width) of each image.
    """
    moved = head.decode(pred_deltas, torch.cat(list(boxes)))[:, 0]
    # A box that is NaN or infinite cannot be pooled; it becomes a box without area at the origin.
    moved = torch.where(torch.isfinite(moved).all(dim=1, keepdim=True), moved, torch.zeros_like(moved))
    moved_boxes = moved.split([len(image) for image in boxes])
    return [clip_boxes(image_boxes, size) for image_boxes, size in zip(moved_boxes, sizes, strict=True)]
