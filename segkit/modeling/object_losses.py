"""The loss of each annotated object, by which a data set is searched for wrong annotations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.modeling.interfaces import MaskHead, ROIHeads
from segkit.modeling.layers.matching import pairwise_iou, split_boxes
from segkit.modeling.meta_arch.detector import Detector
from segkit.modeling.nonfinite import require_finite, run_or_name_culprit
from segkit.structures.image_batch import ImageBatch
from segkit.structures.mask_targets import mask_targets
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

CHUNK = 256  # objects that go through the heads together: the masks of thousands of objects would take gigabytes
PROPOSED_IOU = 0.5
UNPROPOSED = -math.log(1e-4)  # loss of an object that no proposal shows


@dataclass(frozen=True)
class ObjectLosses:
    """The losses of the N objects of one image.

    Attributes:
        cls: float32 [N], cross-entropy of the object's class; NaN for regions and for boxes without area.
        mask: float32 [N], mean binary cross-entropy of the object's mask; NaN also for objects without a mask and of models
            without masks.
    """

    cls: Tensor
    mask: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of both, float32 [N]; without a mask the first alone."""
        return self.cls + self.mask.nan_to_num(0.0)


@torch.no_grad()
def object_losses(
    model: nn.Module, images: Sequence[Tensor] | ImageBatch, targets: Sequence[Targets]
) -> list[ObjectLosses]:
    """Computes the loss of each annotated object, without sampling.

    The model stays in its mode. The RoI heads see the ground-truth boxes in place of proposals, so that each object has one
    loss, and nearby objects do not compete for proposals. Its class loss is the cross-entropy -log p of its class, as the
    heads score it in prediction. Its mask loss is the mean binary cross-entropy between the mask logits of its class and its
    mask target, both in its box. A model without RoI heads has no classes: the class loss is -log p of the best objectness p
    among the proposals of an IoU of at least 0.5.

    Args:
        model: a :class:`~segkit.modeling.meta_arch.detector.Detector`; in evaluation mode for comparable losses.
        images: [C, H_i, W_i] each, uint8 or float in 0..1.
        targets: of each image, in its pixels.
    Raises:
        SegkitError: the model is no detector of segkit, or its RoI heads do not define ``class_log_probs``; a loss is NaN
            or infinite.
    """
    if not isinstance(model, Detector):
        raise SegkitError(
            f"losses of objects need a model derived from segkit.modeling.Detector, not a {type(model).__name__}",
            key="model",
        )
    batch = model.preprocess(images)
    if len(targets) != len(batch.sizes):
        raise SegkitError(f"{len(targets)} targets for {len(batch.sizes)} images")
    heads = getattr(model, "roi_heads", None)

    def run() -> list[ObjectLosses]:
        features = model.features(batch.tensor)
        if isinstance(heads, ROIHeads):
            rows = [{name: maps[i : i + 1] for name, maps in features.items()} for i in range(len(targets))]
            return [
                _of_heads(heads, maps, image.to(model.device), size)
                for maps, image, size in zip(rows, targets, batch.sizes, strict=True)
            ]
        found = model.proposal_generator.scored_proposals(
            model.proposal_generator(features), batch.sizes, training=False
        )
        return [
            _of_proposals(boxes, logits, image.to(model.device))
            for (boxes, logits), image in zip(found, targets, strict=True)
        ]

    return run_or_name_culprit(model, run)


def _measured(targets: Targets) -> Tensor:
    """Rows of the objects that have a loss: int64 [M]."""
    return (~targets.crowd & ~targets.degenerate()).nonzero().squeeze(1)


def _nan(count: int, like: Tensor) -> Tensor:
    return torch.full((count,), torch.nan, dtype=torch.float32, device=like.device)


def _of_heads(heads: ROIHeads, features: dict[str, Tensor], targets: Targets, size: tuple[int, int]) -> ObjectLosses:
    """The losses of one image's objects by RoI heads."""
    cls, mask = _nan(len(targets), targets.boxes), _nan(len(targets), targets.boxes)
    for rows in _measured(targets).split(CHUNK):
        boxes, labels = targets.boxes[rows], targets.labels[rows]
        log_probs = heads.class_log_probs(features, [boxes], [size])
        require_finite("the class scores", log_probs)
        cls[rows] = F.nll_loss(log_probs.float(), labels, reduction="none")
        mask_head: Any = getattr(heads, "mask_head", None)
        masked = rows[targets.has_mask[rows]]
        if mask_head is not None and len(masked):
            mask[masked] = _mask_losses(mask_head, features, targets, masked)
    return ObjectLosses(cls, mask)


def _mask_losses(mask_head: MaskHead, features: dict[str, Tensor], targets: Targets, rows: Tensor) -> Tensor:
    """Mean binary cross-entropy of the masks of the objects ``rows``: float32 [M]."""
    assert targets.masks is not None
    boxes = targets.boxes[rows]
    logits = mask_head(features, [boxes], targets.labels[rows]).float()
    require_finite("the masks' logits", logits)
    expected = mask_targets(targets.masks, rows.cpu(), boxes.cpu(), mask_head.resolution)
    return F.binary_cross_entropy_with_logits(logits, expected.to(logits.dtype), reduction="none").mean(dim=(1, 2))


def _of_proposals(boxes: Tensor, logits: Tensor, targets: Targets) -> ObjectLosses:
    """The losses of one image's objects by the objectness of proposals."""
    cls, rows = _nan(len(targets), targets.boxes), _measured(targets)
    best = torch.full((len(rows),), -torch.inf, device=targets.boxes.device)
    gt_boxes = targets.boxes[rows]
    if len(boxes) and len(rows):
        starts = 0
        for chunk in split_boxes(boxes.float(), gt_boxes):
            shown = pairwise_iou(chunk, gt_boxes) >= PROPOSED_IOU
            scores = logits[starts : starts + len(chunk), None].float().expand_as(shown)
            best = best.maximum(scores.masked_fill(~shown, -torch.inf).amax(dim=0))
            starts += len(chunk)
    cls[rows] = F.softplus(-best).clamp(max=UNPROPOSED)
    return ObjectLosses(cls, _nan(len(targets), targets.boxes))
