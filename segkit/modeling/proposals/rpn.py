"""The region proposal network (Faster R-CNN, Ren et al. 2015, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.modeling.interfaces import ProposalGenerator
from segkit.modeling.layers.box_coder import decode_boxes
from segkit.modeling.layers.box_loss import BoxLoss, box_loss_sum, check_box_loss
from segkit.modeling.layers.boxes import class_nms, clip_boxes, usable
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.matching import match_targets
from segkit.modeling.layers.sampling import sample_balanced
from segkit.modeling.nonfinite import require_finite
from segkit.registry import ANCHOR_GENERATOR_REGISTRY, PROPOSAL_GENERATOR_REGISTRY, RPN_HEAD_REGISTRY, Slot
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

BOX_WEIGHTS = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class RPNOutput:
    """What the network says of a batch of B images, before anything is chosen.

    Attributes:
        anchors: [A_l, 4] a level.
        objectness: [B, A_l] logits a level.
        offsets: [B, A_l, 4] a level.
        maps: the features that they are of, where the losses work out the anchors that they sample by themselves; logits and
            offsets have no gradient then.
    """

    anchors: list[Tensor]
    objectness: list[Tensor]
    offsets: list[Tensor]
    maps: list[Tensor] | None = None

    def at(self, head: nn.Module, images: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [S] and offsets [S, 4] of some anchors, given by image and number, with their gradient."""
        if self.maps is not None:
            return head.at(self.maps, images, anchors)  # type: ignore[operator]
        return torch.cat(self.objectness, dim=1)[images, anchors], torch.cat(self.offsets, dim=1)[images, anchors]


def answers_for_some(head: nn.Module) -> bool:
    """Whether a head has a method ``at`` (see :class:`RPNHead`) that belongs to its ``forward``.

    A subclass that changes ``forward`` alone has inherited one that does not.
    """
    definer = next(kind for kind in type(head).__mro__ if "forward" in vars(kind))
    return "at" in vars(definer)


@PROPOSAL_GENERATOR_REGISTRY.register
class RPN(ProposalGenerator):
    """Anchors, a head that scores and moves them, and the choice of the best as proposals.

    Args:
        in_features: the feature maps.
        anchor_generator: makes the anchors.
        head: scores and moves them.
        pre_nms_top_k: proposals kept a level before suppression, in training and at test.
        post_nms_top_k: proposals kept an image after it, in training and at test.
        nms_threshold: IoU above which the lower-scored of two proposals of a level goes.
        min_size: shortest side of a proposal, in pixels.
        fg_iou_threshold: an anchor belongs to an object from this IoU on.
        bg_iou_threshold: and to none below this.
        samples: anchors an image that the losses see.
        positive_fraction: share of them on objects, at most.
        box_loss: ``smooth_l1`` of the offsets or ``giou`` of the boxes.
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
        samples: int = 256,
        positive_fraction: float = 0.5,
        box_loss: BoxLoss = "smooth_l1",
        smooth_l1_beta: float = 0.0,
        loss_weight: float = 1.0,
        box_loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_box_loss(box_loss)
        if min(*pre_nms_top_k, *post_nms_top_k, samples) < 1:
            raise SegkitError("pre_nms_top_k, post_nms_top_k and samples must be at least 1")
        if not 0 <= bg_iou_threshold <= fg_iou_threshold <= 1:
            raise SegkitError(
                f"expected 0 <= bg_iou_threshold ({bg_iou_threshold}) <= fg_iou_threshold ({fg_iou_threshold}) <= 1"
            )
        if not 0 < nms_threshold <= 1 or not 0 <= positive_fraction <= 1:
            raise SegkitError("nms_threshold and positive_fraction must lie between 0 and 1")
        self.levels = list(in_features)
        self.anchor_generator = anchor_generator
        self.head = head
        self.pre_nms_top_k = tuple(pre_nms_top_k)
        self.post_nms_top_k = tuple(post_nms_top_k)
        self.nms_threshold = nms_threshold
        self.min_size = min_size
        self.fg_iou_threshold = fg_iou_threshold
        self.bg_iou_threshold = bg_iou_threshold
        self.samples = samples
        self.positive_fraction = positive_fraction
        self.box_loss = box_loss
        self.smooth_l1_beta = smooth_l1_beta
        self.loss_weight = loss_weight
        self.box_loss_weight = box_loss_weight

    def forward(self, features: Mapping[str, Tensor]) -> RPNOutput:
        """Score and move all anchors."""
        maps = [features[level] for level in self.levels]
        anchors = self.anchor_generator([(m.shape[-2], m.shape[-1]) for m in maps])
        if torch.is_grad_enabled() and answers_for_some(self.head):
            with torch.no_grad():
                objectness, offsets = self.head(maps)
            return RPNOutput(anchors, objectness, offsets, maps)
        return RPNOutput(anchors, *self.head(maps))

    @torch.no_grad()
    def scored_proposals(
        self, output: RPNOutput, sizes: Sequence[tuple[int, int]], training: bool
    ) -> list[tuple[Tensor, Tensor]]:
        """The best boxes [P_i, 4] XYXY of each image, clipped to it, and their logits [P_i]; best first.

        Raises:
            NotFiniteError: at test, where the best are NaN or infinite (NaN counts as best); in training those go.
        """
        top_k = self.pre_nms_top_k[0 if training else 1]
        boxes, scores, levels = [], [], []
        for level, (anchors, logits, offsets) in enumerate(
            zip(output.anchors, output.objectness, output.offsets, strict=True)
        ):
            best, indices = logits.float().topk(min(top_k, logits.shape[1]), dim=1)  # [B, k]
            chosen = torch.gather(offsets, 1, indices[:, :, None].expand(-1, -1, 4))
            boxes.append(decode_boxes(chosen, anchors[indices], BOX_WEIGHTS))
            scores.append(best)
            levels.append(torch.full((indices.shape[1],), level, device=indices.device))
        all_boxes, all_scores, all_levels = torch.cat(boxes, 1), torch.cat(scores, 1), torch.cat(levels)
        if not training:  # there the losses tell, and fp16's scaler skips a step that overflows
            require_finite("the proposals' scores or boxes", all_scores, all_boxes)
        keep_k = self.post_nms_top_k[0 if training else 1]
        result = []
        for image_boxes, image_scores, size in zip(all_boxes, all_scores, sizes, strict=True):
            clipped = clip_boxes(image_boxes, size)
            valid = usable(clipped, image_scores, self.min_size).nonzero().squeeze(1)  # a GPU is waited for once
            clipped, image_scores, groups = clipped[valid], image_scores[valid], all_levels[valid]
            kept = class_nms(clipped, image_scores, groups, self.nms_threshold, keep_k)
            result.append((clipped[kept], image_scores[kept]))
        return result

    def losses(
        self, output: RPNOutput, targets: Sequence[Targets], generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """``rpn_cls`` (is there an object?) and ``rpn_box`` (where?), over the sampled anchors of the batch."""
        anchors = torch.cat(output.anchors)
        chosen, images, positives, references, wanted = [], [], [], [], []
        for i, image_targets in enumerate(targets):
            with torch.no_grad():
                matches = match_targets(
                    anchors,
                    image_targets,
                    fg_iou_threshold=self.fg_iou_threshold,
                    bg_iou_threshold=self.bg_iou_threshold,
                    keep_best=True,
                )
                positive, negative = sample_balanced(matches.state, self.samples, self.positive_fraction, generator)
            references.append(anchors[positive])
            wanted.append(image_targets.boxes[image_targets.not_crowd][matches.objects[positive]])
            chosen += [positive, negative]
            images.append(torch.full((len(positive) + len(negative),), i, device=anchors.device))
            positives += [torch.ones_like(positive, dtype=torch.bool), torch.zeros_like(negative, dtype=torch.bool)]
        is_positive = torch.cat(positives)
        logits, offsets = output.at(self.head, torch.cat(images), torch.cat(chosen))
        classification = F.binary_cross_entropy_with_logits(logits.float(), is_positive.float(), reduction="sum")
        box = box_loss_sum(
            offsets[is_positive],
            torch.cat(references),
            torch.cat(wanted),
            BOX_WEIGHTS,
            kind=self.box_loss,
            beta=self.smooth_l1_beta,
        )
        count = max(1, len(logits))
        return {
            "rpn_cls": classification / count * self.loss_weight,
            "rpn_box": box / count * self.loss_weight * self.box_loss_weight,
        }
