"""What each proposal of an image should become: which of them the losses see, with label, box and mask."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.modeling.interfaces import MaskHead
from segkit.modeling.layers.boxes import has_area
from segkit.modeling.layers.matching import match_targets
from segkit.modeling.layers.sampling import sample_balanced
from segkit.structures.mask_targets import batch_mask_targets
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledBoxes:
    """Boxes of one image, N of them, with what they should become; the P on objects come first.

    Attributes:
        boxes: [N, 4] XYXY.
        labels: [N] class, K is the background.
        objects: [N, 4] the box of the matched object, zeros for background.
        matched: [P] which of the image's targets each of the first P belongs to.
    """

    boxes: Tensor
    labels: Tensor
    objects: Tensor
    matched: Tensor


@torch.no_grad()
def sample_proposals(
    proposals: Sequence[Tensor],
    targets: Sequence[Targets],
    *,
    num_classes: int,
    fg_iou_threshold: float,
    samples: int,
    positive_fraction: float,
    append_gt_boxes: bool,
    generator: torch.Generator | None,
) -> list[LabelledBoxes]:
    """Draw the proposals that the losses see (Fast R-CNN, Girshick 2015, section 2.3).

    Args:
        proposals: [P_i, 4] an image.
        targets: an image each.
        num_classes: K.
        fg_iou_threshold: a proposal belongs to an object from this IoU on, else to the background.
        samples: how many an image, at most.
        positive_fraction: share of those on objects, at most.
        append_gt_boxes: take the objects' own boxes among the proposals.
        generator: draws; None: torch's global random state does.
    """
    sampled = []
    for boxes, image_targets in zip(proposals, targets, strict=True):
        if append_gt_boxes:
            boxes = torch.cat([boxes, image_targets.boxes[image_targets.not_crowd].float()])
        matches = match_targets(
            boxes, image_targets, fg_iou_threshold=fg_iou_threshold, bg_iou_threshold=fg_iou_threshold, keep_best=False
        )
        positive, negative = sample_balanced(matches.state, samples, positive_fraction, generator)
        sampled.append(_labelled(boxes, image_targets, matches.objects, positive, negative, num_classes))
    return sampled


@torch.no_grad()
def label_proposals(
    proposals: Sequence[Tensor], targets: Sequence[Targets], *, num_classes: int, fg_iou_threshold: float
) -> list[LabelledBoxes]:
    """All proposals, labelled; those without area and those that nobody knows about (crowds) are left out."""
    labelled = []
    for boxes, image_targets in zip(proposals, targets, strict=True):
        matches = match_targets(
            boxes, image_targets, fg_iou_threshold=fg_iou_threshold, bg_iou_threshold=fg_iou_threshold, keep_best=False
        )
        state = matches.state.masked_fill(~has_area(boxes), -1)
        positive, negative = ((state == kind).nonzero().squeeze(1) for kind in (1, 0))
        labelled.append(_labelled(boxes, image_targets, matches.objects, positive, negative, num_classes))
    return labelled


def _labelled(
    boxes: Tensor, targets: Targets, objects: Tensor, positive: Tensor, negative: Tensor, num_classes: int
) -> LabelledBoxes:
    not_crowd = targets.not_crowd  # matching counts these only
    matched = objects[positive] if isinstance(not_crowd, slice) else not_crowd[objects[positive]]
    return LabelledBoxes(
        boxes=boxes[torch.cat([positive, negative])],
        labels=F.pad(targets.labels[matched], (0, len(negative)), value=num_classes),
        objects=F.pad(targets.boxes[matched].float(), (0, 0, 0, len(negative))),
        matched=matched,
    )


def joined(labelled: Sequence[LabelledBoxes]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [N, 4], labels [N] and objects [N, 4] of all images, one after the other, as box heads take them."""
    return (
        torch.cat([image.boxes for image in labelled]),
        torch.cat([image.labels for image in labelled]),
        torch.cat([image.objects for image in labelled]),
    )


def mask_losses(
    mask_head: MaskHead,
    features: Mapping[str, Tensor],
    sampled: Sequence[LabelledBoxes],
    targets: Sequence[Targets],
) -> dict[str, Tensor]:
    """The mask head's losses on the boxes that belong to objects with a mask; 0 where there are none."""
    chosen = _on_masks(sampled, targets)
    objects = sum(len(image) for image in targets)
    if objects and all(image.masks is None for image in targets if len(image)):
        _warn_of_missing_masks(mask_head, objects)
    boxes = [image.boxes[rows] for image, rows in zip(sampled, chosen, strict=True)]
    counts = [len(image) for image in boxes]
    labels = torch.cat([image.labels[rows] for image, rows in zip(sampled, chosen, strict=True)])
    logits = mask_head(features, boxes, labels)
    # The targets' sizes are known on the host only: all images' boxes come there together, so that a GPU is waited for
    # once, and has the mask head to work on meanwhile.
    places = torch.cat(boxes).cpu().split(counts)
    indices = [image.matched[rows] for image, rows in zip(sampled, chosen, strict=True)]
    matched = torch.cat(indices).cpu().split(counts)
    masks = [
        InstanceMasks.empty((1, 1), len(image), image.boxes.device) if image.masks is None else image.masks
        for image in targets
    ]
    return mask_head.losses(logits, batch_mask_targets(masks, matched, places, mask_head.resolution))


def _warn_of_missing_masks(mask_head: MaskHead, objects: int) -> None:
    """Say so, once a mask head, where one is trained without any mask; a run has said it before it began."""
    if torch.is_grad_enabled() and not mask_head.warned_of_missing_masks:
        mask_head.warned_of_missing_masks = True
        logger.warning("none of the %d objects of a batch has a mask: the mask head does not train on them", objects)


def _on_masks(sampled: Sequence[LabelledBoxes], targets: Sequence[Targets]) -> Sequence[slice | Tensor]:
    """Which boxes of each image belong to objects with a mask: a slice, or int64 [M_i].

    Where every object has one, nothing is read from the device; else it is waited for once.
    """
    counts = [len(image.matched) for image in sampled]
    if not any(image.lacks_masks for image in targets):
        return [slice(count) for count in counts]
    has_mask = [image.has_mask[labelled.matched] for image, labelled in zip(targets, sampled, strict=True)]
    on_host = torch.cat(has_mask).cpu().split(counts)
    return [
        rows.nonzero().squeeze(1).to(image.boxes.device, non_blocking=True)
        for rows, image in zip(on_host, sampled, strict=True)
    ]
