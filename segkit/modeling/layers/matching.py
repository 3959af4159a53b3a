"""Which object each anchor or proposal belongs to (Faster R-CNN, Ren et al. 2015, section 3.1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segkit.modeling.layers.boxes import box_areas, intersections
from segkit.structures.targets import Targets

BELOW = 0
BETWEEN = -1
MATCHED = 1
# Pairs of boxes compared at once. Four tables of them in fp32 are held at the peak: 32 MB on a CPU, which is faster with
# tables near the size of its caches, and 512 MB on a GPU, which waits for each operation to be started.
MAX_PAIRS = {"cpu": 1 << 21, "cuda": 1 << 25}


@dataclass(frozen=True)
class Matches:
    """The outcome for N boxes.

    Attributes:
        objects: [N] int64, the index of the best object among the non-crowd ones; 0 where there is none.
        state: [N] int8: 1 matched, 0 background, -1 neither (left out of the losses).
    """

    objects: Tensor
    state: Tensor


def match_boxes(
    boxes: Tensor,
    objects: Tensor,
    *,
    fg_iou_threshold: float,
    bg_iou_threshold: float,
    keep_best: bool,
    max_pairs: int | None = None,
) -> Matches:
    """Match each box with the object it overlaps most.

    Args:
        boxes: [N, 4] anchors or proposals.
        objects: [M, 4] ground truth.
        fg_iou_threshold: matched from this IoU on.
        bg_iou_threshold: background below this IoU.
        keep_best: also match the box or boxes that overlap an object best, however little: each object gets an anchor.
        max_pairs: how many pairs are compared at a time, which bounds the memory; None: as suits the device.
    """
    count = boxes.shape[0]
    if objects.shape[0] == 0:
        zeros = torch.zeros(count, dtype=torch.int64, device=boxes.device)
        return Matches(zeros, zeros.to(torch.int8))
    boxes, objects = boxes.float(), objects.float()
    chunks = split_boxes(boxes, objects, max_pairs)
    values, indices, bests = [], [], []
    for part in chunks:
        table = overlaps(part, objects)
        value, index = table.max(dim=1)
        values.append(value)
        indices.append(index)
        if keep_best and count:
            bests.append(table.amax(dim=0))
    iou = torch.cat(values)
    state = torch.full((count,), BETWEEN, dtype=torch.int8, device=boxes.device)
    state[iou < bg_iou_threshold] = BELOW
    state[iou >= fg_iou_threshold] = MATCHED
    if bests:
        state[_reach_best(chunks, objects, torch.stack(bests), table)] = MATCHED
    return Matches(torch.cat(indices), state)


def split_boxes(boxes: Tensor, objects: Tensor, max_pairs: int | None = None) -> Sequence[Tensor]:
    """Boxes in chunks that make at most ``max_pairs`` pairs with the objects, of which there is at least one."""
    limit = max_pairs or MAX_PAIRS.get(boxes.device.type, MAX_PAIRS["cpu"])
    return boxes.split(max(1, limit // objects.shape[0]))


def _reach_best(chunks: Sequence[Tensor], objects: Tensor, bests: Tensor, table: Tensor) -> Tensor:
    """[N] bool: the boxes that overlap some object as much as the best box of all does, however many these are.

    Args:
        chunks: the boxes.
        objects: [M, 4].
        bests: [len(chunks), M] each object's highest overlap in each chunk.
        table: the overlaps of the last chunk, which need not be worked out again where it is the only one.
    """
    best = bests.amax(dim=0)
    best = best.masked_fill(best == 0, torch.inf)  # an object that no box touches makes nothing a match
    if len(chunks) == 1:
        return (table == best).any(dim=1)
    # Kept, the tables would be what the chunks are there to avoid. But only a chunk where an object's best lies has to be
    # looked at again, for that object. A GPU, which would be waited for to know them, looks at all of its few chunks.
    on_cpu = objects.device.type == "cpu"
    reached = []
    for part, held in zip(chunks, bests == best, strict=True):
        some = held.nonzero().squeeze(1) if on_cpu else slice(None)
        reached.append((overlaps(part, objects[some]) == best[some]).any(dim=1))
    return torch.cat(reached)


def overlaps(boxes: Tensor, objects: Tensor) -> Tensor:
    """[N, M] intersection over union; 0 for boxes without area."""
    shared = intersections(boxes, objects)
    union = (box_areas(boxes)[:, None] + box_areas(objects)[None]).sub_(shared).clamp_(min=1e-9)
    return shared.div_(union)


def match_targets(boxes: Tensor, targets: Targets, **thresholds: float | bool) -> Matches:
    """Match boxes with the objects of one image; crowd regions match nothing.

    Background that lies at least half inside a crowd region is left out: nobody knows what is in there.
    """
    matches = match_boxes(boxes, targets.boxes[targets.not_crowd], **thresholds)  # type: ignore[arg-type]
    if targets.has_crowd:
        regions = targets.boxes[targets.crowd]
        shared = torch.cat([intersections(part, regions).amax(dim=1) for part in split_boxes(boxes, regions)])
        unknown = (shared >= 0.5 * box_areas(boxes).clamp(min=1e-9)) & (matches.state == BELOW)
        matches = Matches(matches.objects, matches.state.masked_fill(unknown, BETWEEN))
    return matches
