"""Objects of an image: their counts, why some are lost on reading, and the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from segkit.structures.sample import Sample
from segkit.structures.targets import Targets


@dataclass(frozen=True)
class LostObjects:
    """Objects that training does not learn from, or that evaluation gets wrong, for one reason.

    Attributes:
        reason: in the plural, as ``objects with a box of no width or height``.
        count: number of these objects.
        examples: the first of them, for messages.
        hint: the probable cause, and what to do; empty if the reason says so.
        mistake: whether such objects are never intended, so that a single one deserves a warning.
        trained_on: whether training uses them; then only the evaluation is wrong.
    """

    reason: str
    count: int
    examples: tuple[str, ...] = ()
    hint: str = ""
    mistake: bool = False
    trained_on: bool = False


class TrainingObjects(NamedTuple):
    """Numbers of objects in an image: usable, crowd regions, with an empty mask or box."""

    usable: int
    crowd: int = 0
    empty: int = 0


def training_objects(targets: Targets, dropped: int = 0) -> TrainingObjects:
    """Counts the objects of an image by their use in training.

    Args:
        targets: of the image.
        dropped: number of objects with an empty mask or box that reading has removed already.
    """
    empty, kept = targets.degenerate(), ~targets.crowd
    return TrainingObjects(int((~empty & kept).sum()), int(targets.crowd.sum()), int((empty & kept).sum()) + dropped)


def ground_truth_from_targets(sample: Sample) -> list[dict]:
    """Ground truth for evaluation, with boxes and areas computed from the masks.

    The form is that of :meth:`~segkit.data.formats.base.Dataset.ground_truth`.

    An object without a mask keeps its box; its area is the box's and ``segmentation`` is None.
    """
    targets = sample.targets
    boxes, masks = targets.boxes.double(), targets.masks
    rles: list[dict[str, Any] | None] = [None] * len(targets)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    if masks is not None:
        boxes = torch.where(targets.has_mask[:, None], masks.boxes().double(), boxes)
        areas = torch.where(targets.has_mask, masks.areas(), areas)
        rles = [rle if known else None for rle, known in zip(masks.to_rle(), targets.has_mask.tolist(), strict=True)]
    xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
    labels, crowd = targets.labels.tolist(), targets.crowd.tolist()
    return [
        {"bbox": box, "segmentation": rle, "area": area, "iscrowd": int(c), "label": label}
        for box, rle, area, c, label in zip(xywh, rles, areas.tolist(), crowd, labels, strict=True)
    ]
