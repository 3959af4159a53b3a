"""Region proposal network, RPN (Faster R-CNN, Ren et al. 2015, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.modeling.interfaces import ProposalGenerator
from segkit.modeling.layers.box_loss import BoxLoss, box_loss_sum, check_box_loss
from segkit.modeling.layers.box_regression import apply_deltas
from segkit.modeling.layers.boxes import clip_boxes, valid_for_nms
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.matching import match_targets
from segkit.modeling.layers.nms import batched_nms
from segkit.modeling.layers.sampling import subsample_labels
from segkit.modeling.nonfinite import require_finite
from segkit.registry import ANCHOR_GENERATOR_REGISTRY, PROPOSAL_GENERATOR_REGISTRY, RPN_HEAD_REGISTRY, Slot
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

BOX_WEIGHTS = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class RPNOutput:
    """Predictions for all anchors of a batch of B images.

    Attributes:
        anchors: [A_l, 4] for each level.
        objectness: logits [B, A_l] for each level.
        pred_deltas: [B, A_l, 4] for each level.
        features: the maps [B, C, H_l, W_l] if the losses predict their sampled anchors again from these; ``objectness``
            and ``pred_deltas`` have no gradient then. None: the losses use ``objectness`` and ``pred_deltas``.
    """

    anchors: list[Tensor]
    objectness: list[Tensor]
    pred_deltas: list[Tensor]
    features: list[Tensor] | None = None

    def at_anchors(self, head: nn.Module, images: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [S] and deltas [S, 4] of chosen anchors, with their gradient."""
        if self.features is not None:
            return head.forward_at_anchors(self.features, images, anchors)  # type: ignore[operator]
        return torch.cat(self.objectness, dim=1)[images, anchors], torch.cat(self.pred_deltas, dim=1)[images, anchors]


def supports_sparse_forward(head: nn.Module) -> bool:
    """Whether a head has a ``forward_at_anchors`` that belongs to its ``forward``.

    A subclass that overrides ``forward`` alone inherits one that does not.
    """
    definer = next(kind for kind in type(head).__mro__ if "forward" in vars(kind))
    return "forward_at_anchors" in vars(definer)


@PROPOSAL_GENERATOR_REGISTRY.register
class RPN(ProposalGenerator):
    """Predicts objectness and deltas of all anchors, and proposes the best boxes after NMS.

    Args:
        in_features: the feature maps.
        anchor_generator: the anchors.
        head: predicts their objectness and deltas.
        pre_nms_top_k: proposals of each level before NMS, in training and at test.
        post_nms_top_k: proposals of each image after NMS, in training and at test.
        nms_threshold: of two proposals of a level with a larger IoU, the one with the lower score is removed.
        min_size: shortest side of a proposal, in pixels.
        fg_iou_threshold: an anchor is foreground from this IoU with an object on.
        bg_iou_threshold: an anchor is background below this IoU with all objects, and ignored between the two.
        batch_size_per_image: anchors of each image that are sampled for the losses.
        positive_fraction: largest share of foreground among them.
        box_loss: ``smooth_l1`` of the deltas or ``giou`` of the boxes.
        smooth_l1_beta: of smooth L1; 0 is L1.
        loss_weight: factor of both losses.
        box_loss_weight: another factor of the box loss.
    """

    examples = ({"anchor_generator": {"name": "AnchorGenerator"}, "head": {"name": "RPNHead"}},)

    def __init__(
        self,
        in_features: Mapping[str, FeatureSpec],
        *,
        anchor_generator: Annotated[
            nn.Module, Slot(ANCHOR_GENERATOR_REGISTRY, provides={"num_anchors": "num_anchors"})
        ],
        head: Annotated[nn.Module, Slot(RPN_HEAD_REGISTRY)],
        pre_nms_top_k: tuple[int, int] = (2000, 1000),
        post_nms_top_k: tuple[int, int] = (1000, 1000),
        nms_threshold: float = 0.7,
        min_size: float = 0.0,
        fg_iou_threshold: float = 0.7,
        bg_iou_threshold: float = 0.3,
        batch_size_per_image: int = 256,
        positive_fraction: float = 0.5,
        box_loss: BoxLoss = "smooth_l1",
        smooth_l1_beta: float = 0.0,
        loss_weight: float = 1.0,
        box_loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_box_loss(box_loss)
        if min(*pre_nms_top_k, *post_nms_top_k, batch_size_per_image) < 1:
            raise SegkitError("pre_nms_top_k, post_nms_top_k and batch_size_per_image must be at least 1")
        if not 0 <= bg_iou_threshold <= fg_iou_threshold <= 1:
            raise SegkitError(
                f"expected 0 <= bg_iou_threshold ({bg_iou_threshold}) <= fg_iou_threshold ({fg_iou_threshold}) <= 1"
            )
        if not 0 < nms_threshold <= 1 or not 0 <= positive_fraction <= 1:
            raise SegkitError("nms_threshold and positive_fraction must lie between 0 and 1")
        check_head(head)
        self.levels = list(in_features)
        self.anchor_generator = anchor_generator
        self.head = head
        self.pre_nms_top_k = tuple(pre_nms_top_k)
        self.post_nms_top_k = tuple(post_nms_top_k)
        self.nms_threshold = nms_threshold
        self.min_size = min_size
        self.fg_iou_threshold = fg_iou_threshold
        self.bg_iou_threshold = bg_iou_threshold
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.box_loss = box_loss
        self.smooth_l1_beta = smooth_l1_beta
        self.loss_weight = loss_weight
        self.box_loss_weight = box_loss_weight

    def forward(self, features: Mapping[str, Tensor]) -> RPNOutput:
        """Predictions for all anchors.

        Args:
            features: [B, C, H, W] by name.
        """
        maps = [features[level] for level in self.levels]
        anchors = self.anchor_generator([(m.shape[-2], m.shape[-1]) for m in maps])
        if torch.is_grad_enabled() and supports_sparse_forward(self.head):
            with torch.no_grad():
                objectness, pred_deltas = self.head(maps)
            return RPNOutput(anchors, objectness, pred_deltas, maps)
        return RPNOutput(anchors, *self.head(maps))

    @torch.no_grad()
    def scored_proposals(
        self, output: RPNOutput, sizes: Sequence[tuple[int, int]], training: bool
    ) -> list[tuple[Tensor, Tensor]]:
        """Proposals [P_i, 4] XYXY of each image after NMS and their logits [P_i], best first.

        Args:
            output: of :meth:`forward`.
            sizes: (height, width) of each image.
            training: whether the first or the second value of ``pre_nms_top_k`` and ``post_nms_top_k`` holds.
        Raises:
            NotFiniteError: at test, if a proposal is NaN or infinite. In training such proposals are removed.
        """
        top_k = self.pre_nms_top_k[0 if training else 1]
        boxes, scores, levels = [], [], []
        for level, (anchors, logits, deltas) in enumerate(
            zip(output.anchors, output.objectness, output.pred_deltas, strict=True)
        ):
            best, indices = logits.float().topk(min(top_k, logits.shape[1]), dim=1)  # [B, k]; NaN sorts first
            top_deltas = torch.gather(deltas, 1, indices[:, :, None].expand(-1, -1, 4))
            boxes.append(apply_deltas(top_deltas, anchors[indices], BOX_WEIGHTS))
            scores.append(best)
            levels.append(torch.full((indices.shape[1],), level, device=indices.device))
        all_boxes, all_scores, all_levels = torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(levels)
        if not training:  # in training the losses show it, and fp16's scaler skips a step that overflows
            require_finite("the proposals' scores or boxes", all_scores, all_boxes)
        max_proposals = self.post_nms_top_k[0 if training else 1]
        proposals = []
        for image_boxes, image_scores, size in zip(all_boxes, all_scores, sizes, strict=True):
            clipped = clip_boxes(image_boxes, size)
            valid = valid_for_nms(clipped, image_scores, self.min_size).nonzero().squeeze(1)  # one synchronisation
            clipped, image_scores, image_levels = clipped[valid], image_scores[valid], all_levels[valid]
            kept = batched_nms(clipped, image_scores, image_levels, self.nms_threshold, max_proposals)
            proposals.append((clipped[kept], image_scores[kept]))
        return proposals

    def losses(
        self, output: RPNOutput, targets: Sequence[Targets], generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """``rpn_cls`` (objectness) and ``rpn_box`` (deltas), means over the sampled anchors.

        Args:
            output: of :meth:`forward`.
            targets: of each image, in the pixels of the network's input.
            generator: samples the anchors; None: torch's global random state.
        """
        anchors = torch.cat(output.anchors)
        sampled, images, is_foreground, foreground_anchors, gt_boxes = [], [], [], [], []
        for i, image_targets in enumerate(targets):
            with torch.no_grad():
                matches = match_targets(
                    anchors,
                    image_targets,
                    fg_iou_threshold=self.fg_iou_threshold,
                    bg_iou_threshold=self.bg_iou_threshold,
                    allow_low_quality_matches=True,
                )
                positive, negative = subsample_labels(
                    matches.match_labels, self.batch_size_per_image, self.positive_fraction, generator
                )
            foreground_anchors.append(anchors[positive])
            gt_boxes.append(image_targets.boxes[image_targets.not_crowd][matches.matched_idxs[positive]])
            sampled += [positive, negative]
            images.append(torch.full((len(positive) + len(negative),), i, device=anchors.device))
            is_foreground += [
                torch.ones_like(positive, dtype=torch.bool),
                torch.zeros_like(negative, dtype=torch.bool),
            ]
        foreground = torch.cat(is_foreground)
        logits, pred_deltas = output.at_anchors(self.head, torch.cat(images), torch.cat(sampled))
        classification = F.binary_cross_entropy_with_logits(logits.float(), foreground.float(), reduction="sum")
        box = box_loss_sum(
            pred_deltas[foreground],
            torch.cat(foreground_anchors),
            torch.cat(gt_boxes),
            BOX_WEIGHTS,
            kind=self.box_loss,
            beta=self.smooth_l1_beta,
        )
        count = max(1, len(logits))
        return {
            "rpn_cls": classification / count * self.loss_weight,
            "rpn_box": box / count * self.loss_weight * self.box_loss_weight,
        }


def check_head(head: nn.Module) -> None:
    """Raises a SegkitError if a head has ``forward_at_anchors`` only as ``at``, its old name."""
    definer = next((kind for kind in type(head).__mro__ if callable(vars(kind).get("at"))), None)
    if definer is not None and "forward_at_anchors" not in vars(definer):
        name = definer.__name__
        raise SegkitError(
            f"{name}.at: an RPN head's method for chosen anchors is now called forward_at_anchors(features, images, "
            f"anchors); rename {name}.at",
            key="head",
        )
