"""Box heads in a row, each on the boxes of the one before (Cascade R-CNN, Cai and Vasconcelos 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from segkit.modeling.interfaces import BoxHead, MaskHead, ROIHeads
from segkit.modeling.layers.boxes import clip_boxes, has_area
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.scale_gradient import scale_gradient
from segkit.modeling.nonfinite import require_finite
from segkit.modeling.roi_heads.labelling import LabelledBoxes, joined, label_proposals, mask_losses, sample_proposals
from segkit.modeling.roi_heads.options import check_options
from segkit.modeling.roi_heads.postprocess import masked_detections, select_detections
from segkit.registry import ROI_BOX_HEAD_REGISTRY, ROI_HEADS_REGISTRY, ROI_MASK_HEAD_REGISTRY, Slot, SlotList
from segkit.structures.detections import Detections
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError


@ROI_HEADS_REGISTRY.register
class CascadeROIHeads(ROIHeads):
    """Each stage refines the boxes of the one before and learns from those that overlap an object more.

    The first stage sees sampled proposals; the later ones see its boxes, matched anew and all of them: they are better,
    so that more are positive at the higher overlap. No gradient runs through the boxes. At test the scores are the mean
    of all stages', the boxes the last stage's, and the masks are drawn in these; in training the mask head sees the
    sampled proposals of the first stage.

    Args:
        in_features: the feature maps.
        num_classes: K.
        box_heads: a class-agnostic one a stage. Later offsets are smaller, so their ``box_weights`` are larger.
        mask_head: masks; null: boxes only.
        fg_iou_thresholds: of each stage: a box belongs to an object from this IoU on, else to the background.
        samples: proposals an image that the losses see.
        positive_fraction: share of them on objects in the first stage, at most.
        append_gt_boxes: take the objects' own boxes among the proposals when training.
        score_threshold: detections below are dropped, also for evaluation.
        nms_threshold: IoU above which the lower-scored of two detections of a class goes.
        detections_per_image: the best so many are kept, in evaluation too.
        min_size: shortest side of a detection, in pixels.

    Attributes:
        degenerate: int64 [stages - 1], how many boxes each stage but the last has, in training, moved out of the image
            or made no numbers of. They are left out; their count is a property of this process, not of the weights.
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
                "positive_fraction": positive_fraction,
                **{f"fg_iou_thresholds.{i}": iou for i, iou in enumerate(fg_iou_thresholds)},
            },
            counts={"samples": samples, "detections_per_image": detections_per_image, "box_heads": len(box_heads)},
        )
        if len(box_heads) != len(fg_iou_thresholds):
            raise SegkitError(
                f"box_heads and fg_iou_thresholds need one entry a stage: there are {len(box_heads)} heads and "
                f"{len(fg_iou_thresholds)} overlaps"
            )
        for i, head in enumerate(box_heads):
            if not head.class_agnostic:
                raise SegkitError(f"box_heads.{i}: a stage hands on one box a proposal; set class_agnostic: true")
        self.num_classes = num_classes
        self.box_heads = nn.ModuleList(box_heads)
        self.mask_head = mask_head
        self.fg_iou_thresholds = tuple(fg_iou_thresholds)
        self.samples = samples
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
        """Losses of all heads: ``cls_stage1``, ``box_stage1``, ``cls_stage2``, ... and the mask head's.

        Args:
            features: maps [B, C, H, W].
            proposals: [P_i, 4] an image.
            targets: an image each, in the pixels of the network's input.
            generator: draws the samples of the first stage; None: torch's global random state does.
            sizes: (height, width) of each image, which refined boxes are clipped to.
        """
        assert sizes is not None, "a cascade clips its boxes to the images"
        sampled = sample_proposals(
            proposals,
            targets,
            num_classes=self.num_classes,
            fg_iou_threshold=self.fg_iou_thresholds[0],
            samples=self.samples,
            positive_fraction=self.positive_fraction,
            append_gt_boxes=self.append_gt_boxes,
            generator=generator,
        )
        # All stages together pull at the shared features as one head would. On the maps, before they are pooled, it is
        # the same and is done once.
        shared = {name: scale_gradient(feature, 1.0 / len(self.box_heads)) for name, feature in features.items()}
        losses: dict[str, Tensor] = {}
        boxes = list(proposals)
        for stage, head in enumerate(self.box_heads):
            assert isinstance(head, BoxHead)
            labelled = sampled if stage == 0 else self._matched_anew(stage, boxes, targets)
            boxes = [image.boxes for image in labelled]
            logits, offsets = head(shared, boxes)
            stage_losses = head.losses(logits, offsets, *joined(labelled))
            losses.update({f"{name}_stage{stage + 1}": loss for name, loss in stage_losses.items()})
            boxes = refine(head, offsets, boxes, sizes)
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
        boxes, probabilities = list(proposals), []
        for head in self.box_heads:
            assert isinstance(head, BoxHead)
            logits, offsets = head(features, boxes)
            require_finite("the class scores or box offsets", logits, offsets)
            # Boxes without area stay in their place here, so that the stages' scores belong together; in the end they go.
            boxes = refine(head, offsets, boxes, sizes)
            probabilities.append(logits.float().softmax(dim=1))
        scores = torch.stack(probabilities).mean(dim=0)[:, : self.num_classes].split([len(b) for b in boxes])
        kept = [
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
        return masked_detections(self.mask_head, features, kept, sizes)

    def _matched_anew(self, stage: int, boxes: Sequence[Tensor], targets: Sequence[Targets]) -> list[LabelledBoxes]:
        """What a later stage learns from: the boxes of the stage before that have an area."""
        if self.training:
            self.degenerate[stage - 1] += (~has_area(torch.cat(list(boxes)))).sum()
        iou = self.fg_iou_thresholds[stage]
        return label_proposals(boxes, targets, num_classes=self.num_classes, fg_iou_threshold=iou)


@torch.no_grad()
def refine(head: BoxHead, offsets: Tensor, boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Boxes [N_i, 4] of each image moved by their offsets and clipped to it, without gradient.

    Args:
        head: class-agnostic.
        offsets: [sum N_i, 1, 4].
        boxes: [N_i, 4] of each image.
        sizes: (height, width) of each image.
    """
    moved = head.decode(offsets, torch.cat(list(boxes)))[:, 0]
    # What is no number has no place to pool from; at the origin it is a box without area like others.
    moved = torch.where(torch.isfinite(moved).all(dim=1, keepdim=True), moved, torch.zeros_like(moved))
    parts = moved.split([len(image) for image in boxes])
    return [clip_boxes(part, size) for part, size in zip(parts, sizes, strict=True)]
