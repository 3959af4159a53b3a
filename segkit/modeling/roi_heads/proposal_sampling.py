"""Labels proposals with their ground truth and samples those that the RoI heads' losses use."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from segkit.modeling.interfaces import BoxHead
from segkit.modeling.layers.boxes import has_area
from segkit.modeling.layers.matching import BACKGROUND, FOREGROUND, IGNORED, Matches, match_targets
from segkit.modeling.layers.sampling import subsample_labels
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError


@dataclass(frozen=True)
class LabelledProposals:
    """N proposals of one image with their ground truth; the P foreground ones come first.

    Attributes:
        boxes: [N, 4] XYXY.
        labels: int64 [N] classes, K for the background.
        gt_boxes: [N, 4] the box of the matched object, zeros for background.
        matched_idxs: int64 [P], index of the matched object in the image's targets.
    """

    boxes: Tensor
    labels: Tensor
    gt_boxes: Tensor
    matched_idxs: Tensor


@torch.no_grad()
def label_and_sample_proposals(
    proposals: Sequence[Tensor],
    targets: Sequence[Targets],
    *,
    num_classes: int,
    fg_iou_threshold: float,
    batch_size_per_image: int,
    positive_fraction: float,
    append_gt_boxes: bool,
    generator: torch.Generator | None,
) -> list[LabelledProposals]:
    """Samples the proposals that the losses use (Fast R-CNN, Girshick 2015, section 2.3).

    Args:
        proposals: [P_i, 4] of each image.
        targets: of each image.
        num_classes: K.
        fg_iou_threshold: a proposal is foreground from this IoU with an object on, else background.
        batch_size_per_image: how many proposals of an image are sampled at most.
        positive_fraction: largest share of foreground among them.
        append_gt_boxes: add the ground-truth boxes to the proposals.
        generator: samples; None: torch's global random state.
    """
    sampled = []
    for boxes, image_targets in zip(proposals, targets, strict=True):
        if append_gt_boxes:
            boxes = torch.cat([boxes, image_targets.boxes[image_targets.not_crowd].float()])
        matches = _match(boxes, image_targets, fg_iou_threshold)
        positive, negative = subsample_labels(matches.match_labels, batch_size_per_image, positive_fraction, generator)
        sampled.append(_labelled(boxes, image_targets, matches.matched_idxs, positive, negative, num_classes))
    return sampled


@torch.no_grad()
def label_proposals(
    proposals: Sequence[Tensor], targets: Sequence[Targets], *, num_classes: int, fg_iou_threshold: float
) -> list[LabelledProposals]:
    """Labels all proposals except those without area, and background in regions.

    Args:
        proposals: [P_i, 4] of each image.
        targets: of each image.
        num_classes: K.
        fg_iou_threshold: a proposal is foreground from this IoU with an object on, else background.
    """
    labelled = []
    for boxes, image_targets in zip(proposals, targets, strict=True):
        matches = _match(boxes, image_targets, fg_iou_threshold)
        match_labels = matches.match_labels.masked_fill(~has_area(boxes), IGNORED)
        positive, negative = ((match_labels == kind).nonzero().squeeze(1) for kind in (FOREGROUND, BACKGROUND))
        labelled.append(_labelled(boxes, image_targets, matches.matched_idxs, positive, negative, num_classes))
    return labelled


def _match(boxes: Tensor, targets: Targets, fg_iou_threshold: float) -> Matches:
    """Matches the proposals of one image; those without an object are background, or ignored."""
    return match_targets(
        boxes,
        targets,
        fg_iou_threshold=fg_iou_threshold,
        bg_iou_threshold=fg_iou_threshold,
        allow_low_quality_matches=False,
    )


def _labelled(
    boxes: Tensor, targets: Targets, matched_idxs: Tensor, positive: Tensor, negative: Tensor, num_classes: int
) -> LabelledProposals:
    """The chosen boxes with their ground truth.

    Args:
        boxes: [P, 4] proposals.
        targets: of the image.
        matched_idxs: [P] index of each box's match among the objects that are not crowd regions.
        positive: indices of the chosen foreground boxes.
        negative: indices of the chosen background boxes.
        num_classes: K.
    """
    not_crowd = targets.not_crowd
    matched = matched_idxs[positive] if isinstance(not_crowd, slice) else not_crowd[matched_idxs[positive]]
    return LabelledProposals(
        boxes=boxes[torch.cat([positive, negative])],
        labels=F.pad(targets.labels[matched], (0, len(negative)), value=num_classes),
        gt_boxes=F.pad(targets.boxes[matched].float(), (0, 0, 0, len(negative))),
        matched_idxs=matched,
    )


def cat_proposals(labelled: Sequence[LabelledProposals]) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [N, 4], labels [N] and gt_boxes [N, 4] of all images, as box heads take them."""
    return (
        torch.cat([image.boxes for image in labelled]),
        torch.cat([image.labels for image in labelled]),
        torch.cat([image.gt_boxes for image in labelled]),
    )


def unlabelled_logits(
    labelled: Sequence[LabelledProposals], targets: Sequence[Targets], num_classes: int
) -> Tensor | None:
    """Bool [N, K + 1]: logits of background boxes of which the ground truth says nothing.

    A background box shows no annotated object. It may show one of a class that is not annotated everywhere in its image.

    Args:
        labelled: the proposals of each image, N in all.
        targets: of each image.
        num_classes: K.
    Returns:
        None if no image has unlabelled classes.
    """
    if not any(len(image.unlabelled) for image in targets):
        return None
    of_images = torch.zeros(len(targets), num_classes + 1, dtype=torch.bool)
    for row, image in zip(of_images, targets, strict=True):
        row[image.unlabelled] = True
    of_images = of_images.to(labelled[0].boxes.device, non_blocking=True)
    pairs = zip(labelled, of_images, strict=True)
    return torch.cat([(proposals.labels == num_classes)[:, None] & row for proposals, row in pairs])


def box_head_losses(
    head: BoxHead,
    logits: Tensor,
    pred_deltas: Tensor,
    labelled: Sequence[LabelledProposals],
    targets: Sequence[Targets],
    num_classes: int,
) -> dict[str, Tensor]:
    """A box head's losses on labelled proposals.

    Args:
        head: its ``losses`` takes ``unlabelled`` if an image has unlabelled classes.
        logits: [N, K + 1], of the head.
        pred_deltas: [N, K or 1, 4], of the head.
        labelled: the proposals of each image, N in all.
        targets: of each image.
        num_classes: K.
    Raises:
        SegkitError: the head does not take unlabelled classes, and there are some.
    """
    unlabelled = unlabelled_logits(labelled, targets, num_classes)
    if unlabelled is None:  # heads that know nothing of unlabelled classes train on all other data
        return head.losses(logits, pred_deltas, *cat_proposals(labelled))
    if "unlabelled" not in inspect.signature(head.losses).parameters:
        name = type(head).__name__
        raise SegkitError(
            f"the data have classes that are not annotated everywhere, and {name} cannot leave them out of its loss; add the "
            f"argument unlabelled=None to {name}.losses, as in segkit.modeling.BoxHead",
            key="box_head",
        )
    return head.losses(logits, pred_deltas, *cat_proposals(labelled), unlabelled=unlabelled)
