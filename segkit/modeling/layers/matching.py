"""Matches anchors and proposals with ground truth by IoU (Ren et al. 2015, section 3.1.2).

torchvision's ``Matcher`` is private and takes the whole IoU matrix: 1.5 GB in fp32 for 250,000 anchors and 1,500 objects,
and several times as much with its intermediate results. Here the matrix is computed in chunks of 8 MB on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segkit.modeling.layers.boxes import box_areas, clip_boxes, intersections
from segkit.structures.targets import Targets

BACKGROUND = 0
IGNORED = -1
FOREGROUND = 1
# Pairs of boxes compared at once. At the peak, four fp32 IoU matrices are alive: 32 MB on a CPU, which is fastest with
# matrices about the size of its caches, and 512 MB on a GPU, where each operation has a launch cost.
MAX_PAIRS = {"cpu": 1 << 21, "cuda": 1 << 25}


@dataclass(frozen=True)
class Matches:
    """The ground truth that each of N boxes is matched with.

    Attributes:
        matched_idxs: int64 [N], index of the ground-truth box with the highest IoU, crowd regions not counted; 0 if
            there is no ground truth.
        match_labels: int8 [N]: 1 foreground, 0 background, -1 ignored by the losses.
    """

    matched_idxs: Tensor
    match_labels: Tensor


def match_boxes(
    boxes: Tensor,
    gt_boxes: Tensor,
    *,
    fg_iou_threshold: float,
    bg_iou_threshold: float,
    allow_low_quality_matches: bool,
    max_pairs: int | None = None,
) -> Matches:
    """Matches each box with the ground-truth box of the highest IoU.

    Args:
        boxes: [N, 4] anchors or proposals.
        gt_boxes: [M, 4] ground truth.
        fg_iou_threshold: a box is foreground from this IoU on.
        bg_iou_threshold: a box is background below this IoU, and ignored between the two.
        allow_low_quality_matches: also make foreground of the box or boxes with the highest IoU with each ground-truth
            box, however low that is, so that every object has an anchor.
        max_pairs: pairs of boxes compared at a time, which bounds the memory; None: MAX_PAIRS of the device.
    """
    count = boxes.shape[0]
    if gt_boxes.shape[0] == 0:
        zeros = torch.zeros(count, dtype=torch.int64, device=boxes.device)
        return Matches(zeros, zeros.to(torch.int8))
    boxes, gt_boxes = boxes.float(), gt_boxes.float()
    chunks = split_boxes(boxes, gt_boxes, max_pairs)
    max_ious, indices, best_of_chunks = [], [], []
    for chunk in chunks:
        ious = pairwise_iou(chunk, gt_boxes)
        max_iou, index = ious.max(dim=1)
        max_ious.append(max_iou)
        indices.append(index)
        if allow_low_quality_matches and count:
            best_of_chunks.append(ious.amax(dim=0))
    iou = torch.cat(max_ious)
    match_labels = torch.full((count,), IGNORED, dtype=torch.int8, device=boxes.device)
    match_labels[iou < bg_iou_threshold] = BACKGROUND
    match_labels[iou >= fg_iou_threshold] = FOREGROUND
    if best_of_chunks:
        match_labels[_low_quality_matches(chunks, gt_boxes, torch.stack(best_of_chunks), ious)] = FOREGROUND
    return Matches(torch.cat(indices), match_labels)


def split_boxes(boxes: Tensor, gt_boxes: Tensor, max_pairs: int | None = None) -> Sequence[Tensor]:
    """Boxes in chunks of at most ``max_pairs`` pairs with ``gt_boxes`` (one or more)."""
    limit = max_pairs or MAX_PAIRS.get(boxes.device.type, MAX_PAIRS["cpu"])
    return boxes.split(max(1, limit // gt_boxes.shape[0]))


def _low_quality_matches(
    chunks: Sequence[Tensor], gt_boxes: Tensor, best_of_chunks: Tensor, last_ious: Tensor
) -> Tensor:
    """Bool [N]: boxes whose IoU with some ground-truth box is the highest of all, ties included.

    Args:
        chunks: the boxes.
        gt_boxes: [M, 4].
        best_of_chunks: [len(chunks), M] highest IoU of each ground-truth box in each chunk.
        last_ious: IoU matrix of the last chunk, which is not computed again if it is the only one.
    """
    best = best_of_chunks.amax(dim=0)
    best = best.masked_fill(best == 0, torch.inf)  # a ground-truth box that overlaps no box has no match
    if len(chunks) == 1:
        return (last_ious == best).any(dim=1)
    # Keeping all IoU matrices would use the memory that the chunks save. A chunk is computed again only for the
    # ground-truth boxes whose best match it holds. On a GPU, finding those would cost a synchronisation, so it computes
    # its few chunks again as a whole.
    on_cpu = gt_boxes.device.type == "cpu"
    is_match = []
    for chunk, holds_best in zip(chunks, best_of_chunks == best, strict=True):
        columns = holds_best.nonzero().squeeze(1) if on_cpu else slice(None)
        is_match.append((pairwise_iou(chunk, gt_boxes[columns]) == best[columns]).any(dim=1))
    return torch.cat(is_match)


def pairwise_iou(boxes: Tensor, gt_boxes: Tensor) -> Tensor:
    """Intersection over union [N, M]; 0 for boxes without area."""
    shared = intersections(boxes, gt_boxes)
    union = (box_areas(boxes)[:, None] + box_areas(gt_boxes)[None]).sub_(shared).clamp_(min=1e-9)
    return shared.div_(union)


def match_targets(boxes: Tensor, targets: Targets, **thresholds: float | bool) -> Matches:
    """Matches boxes with the objects of one image; crowd and ignore regions match nothing.

    Background boxes in a region are ignored, since the objects there are not annotated one by one:

    - at least half of the box lies in one region that counts as its box: a crowd region of a class, or an ignore region
      without a mask;
    - at least half of the box's part in the image lies in the union of the ignore regions with a mask. Their boxes may be
      the whole image;
    - the IoU of that part with the box of such a region is at least a half: a region may be a single object, which fills
      little of its box.

    Args:
        boxes: [N, 4] anchors or proposals.
        targets: of the image.
        **thresholds: as for :func:`match_boxes`.
    """
    matches = match_boxes(boxes, targets.boxes[targets.not_crowd], **thresholds)  # type: ignore[arg-type]
    if not targets.has_crowd:
        return matches
    ignored = _in_regions(boxes.float(), targets) & (matches.match_labels == BACKGROUND)
    return Matches(matches.matched_idxs, matches.match_labels.masked_fill(ignored, IGNORED))


def _in_regions(boxes: Tensor, targets: Targets) -> Tensor:
    """Bool [N]: boxes in crowd or ignore regions, by the rules of :func:`match_targets`."""
    inside = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    if targets.box_crowds:
        shared = _largest(intersections, boxes, targets.boxes[targets.box_crowds])
        inside |= shared >= 0.5 * box_areas(boxes).clamp(min=1e-9)
    table = targets.region_areas()
    if table is not None:
        boxes = clip_boxes(boxes, table.size)  # anchors reach beyond the image
        inside |= table.areas(boxes) >= 0.5 * box_areas(boxes).clamp(min=1e-9)
        inside |= _largest(pairwise_iou, boxes, targets.boxes[targets.mask_regions]) >= 0.5
    return inside


def _largest(function: Callable[[Tensor, Tensor], Tensor], boxes: Tensor, others: Tensor) -> Tensor:
    """The largest value [N] of ``function(boxes, others)`` [N, M] for each box, M >= 1."""
    return torch.cat([function(chunk, others).amax(dim=1) for chunk in split_boxes(boxes, others)])
