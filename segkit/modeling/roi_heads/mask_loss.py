"""Makes the mask targets of the foreground proposals and computes the mask head's losses."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from segkit.modeling.interfaces import MaskHead
from segkit.modeling.roi_heads.proposal_sampling import LabelledProposals
from segkit.structures.mask_targets import batch_mask_targets
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets

logger = logging.getLogger(__name__)


def mask_losses(
    mask_head: MaskHead,
    features: Mapping[str, Tensor],
    sampled: Sequence[LabelledProposals],
    targets: Sequence[Targets],
) -> dict[str, Tensor]:
    """The mask head's losses on foreground proposals whose objects have a mask; 0 without any.

    Args:
        mask_head: predicts the masks and compares them with the mask targets.
        features: maps [B, C, H, W] by name.
        sampled: the labelled proposals of each image.
        targets: of each image, on the features' device.
    """
    chosen = _with_masks(sampled, targets)
    if all(image.masks is None for image in targets if len(image)):
        _warn_of_missing_masks(mask_head, targets)
    boxes = [image.boxes[rows] for image, rows in zip(sampled, chosen, strict=True)]
    counts = [len(image) for image in boxes]
    labels = torch.cat([image.labels[rows] for image, rows in zip(sampled, chosen, strict=True)])
    logits = mask_head(features, boxes, labels)
    # Mask targets need boxes and indices on the CPU. All images' are copied together, so that there is one
    # synchronisation with a GPU, and only after the mask head's work has been queued.
    boxes_on_cpu = torch.cat(boxes).cpu().split(counts)
    indices = [image.matched_idxs[rows] for image, rows in zip(sampled, chosen, strict=True)]
    indices_on_cpu = torch.cat(indices).cpu().split(counts)
    masks = [
        InstanceMasks.empty((1, 1), len(image), image.boxes.device) if image.masks is None else image.masks
        for image in targets
    ]
    mask_targets = batch_mask_targets(masks, indices_on_cpu, boxes_on_cpu, mask_head.resolution)
    return mask_head.losses(logits, mask_targets)


def _warn_of_missing_masks(mask_head: MaskHead, targets: Sequence[Targets]) -> None:
    """Warns, once for each mask head, of a batch of objects without masks.

    A run of the trainer has warned of it before it started; this is for other training loops.
    """
    if mask_head.warned_of_missing_masks or not torch.is_grad_enabled():
        return
    if num_objects := sum(int((~image.crowd).sum()) for image in targets if len(image)):
        mask_head.warned_of_missing_masks = True
        logger.warning(
            "none of the %d objects of a batch has a mask: the mask head does not train on them", num_objects
        )


def _with_masks(sampled: Sequence[LabelledProposals], targets: Sequence[Targets]) -> Sequence[slice | Tensor]:
    """Index of the foreground proposals of each image whose objects have a mask.

    If every object has one, there is no synchronisation with the device; else there is one.
    """
    counts = [len(image.matched_idxs) for image in sampled]
    if not any(image.lacks_masks for image in targets):
        return [slice(count) for count in counts]
    has_mask = [image.has_mask[labelled.matched_idxs] for image, labelled in zip(targets, sampled, strict=True)]
    has_mask_on_cpu = torch.cat(has_mask).cpu().split(counts)
    return [
        rows.nonzero().squeeze(1).to(image.boxes.device, non_blocking=True)
        for rows, image in zip(has_mask_on_cpu, sampled, strict=True)
    ]
