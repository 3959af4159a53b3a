"""Counts objects with a box but no mask before a run; warns or raises an error."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from segkit.data import Dataset
from segkit.data.transforms import Compose
from segkit.evaluation.coco import ONLY_BOXES
from segkit.modeling.interfaces import MaskHead
from segkit.registry import EVALUATOR_REGISTRY
from segkit.utils import distributed
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)

MAX_FILES = 3  # images that a message names
COUNTED_IMAGES = 20  # images that are read to count masks, in a data set that does not know its counts


@dataclass(frozen=True)
class MaskCounts:
    """How many objects have no mask; crowd regions are not counted.

    Attributes:
        unmasked: objects without a mask.
        objects: all objects; None: unknown.
        images: number of images counted, the first ones; None: all.
        files: the first images with such objects, if their names are known.
    """

    unmasked: int
    objects: int | None
    images: int | None = None
    files: tuple[str, ...] = ()

    @property
    def none_has_a_mask(self) -> bool:
        """Whether there are objects, all were counted, and none of them has a mask."""
        return self.images is None and self.unmasked > 0 and self.unmasked == self.objects

    def text(self, kind: str) -> str:
        """Returns ``12 of 345 training objects have no mask, first in a.png``, for ``training``."""
        where = "" if self.images is None else f" of the first {self.images} images"
        if self.unmasked == self.objects:
            return f"none of the {self.objects:,} {kind} objects{where} has a mask"
        total = "" if self.objects is None else f"of {self.objects:,} "
        first = f", first in {', '.join(self.files)}" if self.files else ""
        return f"{self.unmasked:,} {total}{kind} objects{where} have no mask{first}"


def count_masks(dataset: Dataset, *, until_a_mask: bool = False) -> MaskCounts:
    """Counts objects without a mask, by the data set's own counts or by reading images.

    Args:
        dataset: of one without counts, the first ``COUNTED_IMAGES`` images are read.
        until_a_mask: read on until an object has a mask, through all images if necessary.
    """
    unmasked = dataset.unmasked_counts()
    if unmasked is None:
        return _count_by_reading(dataset, until_a_mask)
    counts = dataset.object_counts() if unmasked.any() else None
    files = dataset.image_files() if unmasked.any() else None
    first = () if files is None else tuple(files[i] for i in np.flatnonzero(unmasked)[:MAX_FILES].tolist())
    return MaskCounts(int(unmasked.sum()), None if counts is None else int(counts.sum()), files=first)


def warn_of_missing_masks(model: nn.Module, train: Dataset) -> None:
    """Warns of training objects without a mask: the model's mask head does not train on them."""
    if not getattr(model, "predicts_masks", False):
        return
    counts = count_masks(train)
    advice = "the mask head does not train on them"
    if counts.none_has_a_mask:
        advice = "the mask head does not train; set model.roi_heads.mask_head=null to train boxes only"
    if counts.unmasked and distributed.is_main():  # the same in all processes
        logger.warning("%s: %s", counts.text("training"), advice)
    head = getattr(getattr(model, "roi_heads", None), "mask_head", None)
    if isinstance(head, MaskHead):
        head.warned_of_missing_masks = counts.unmasked > 0


def check_masks_to_evaluate(val: Dataset, evaluators: Sequence[Mapping[str, Any]]) -> None:
    """Raises SegkitError if an evaluator evaluates masks and no validation object has one."""
    if not any(_evaluates_masks(spec) for spec in evaluators):
        return
    counts = count_masks(val, until_a_mask=True)
    if counts.none_has_a_mask:
        raise SegkitError(
            f"data.val: {counts.text('validation')}, so 'segm' cannot be evaluated; {ONLY_BOXES}", key="evaluators"
        )


def check_masks_for_transforms(train: Dataset, transforms: Compose) -> None:
    """Raises SegkitError if a transform needs masks and no training object has one."""
    for transform in transforms.transforms:
        if not transform.needs_masks:
            continue
        counts = count_masks(train)
        problem = f"{type(transform).__name__} needs masks, and {counts.text('training')}"
        if counts.none_has_a_mask:
            raise SegkitError(f"{problem}; remove it from data.train_transforms", key="data.train_transforms")
        if counts.objects and counts.objects == counts.unmasked:
            logger.warning("%s", problem)


def _count_by_reading(dataset: Dataset, until_a_mask: bool) -> MaskCounts:
    images = len(dataset) if until_a_mask else min(COUNTED_IMAGES, len(dataset))
    unmasked = objects = 0
    names = dataset.image_files()
    files: list[str] = []
    for index in range(images):
        try:
            targets = dataset.targets(index)
        except SegkitError:
            continue  # the loader decides whether an unreadable image ends the run
        found = int((~targets.has_mask & ~targets.crowd).sum())
        unmasked += found
        if found and names is not None and len(files) < MAX_FILES:
            files.append(names[index])
        objects += int((~targets.crowd).sum())
        if objects > unmasked and until_a_mask:
            break
    return MaskCounts(unmasked, objects, None if images == len(dataset) else images, tuple(files))


def _evaluates_masks(spec: Mapping[str, Any]) -> bool:
    options = EVALUATOR_REGISTRY.signature(spec["name"]).options
    default = options["iou_types"].default if "iou_types" in options else ()
    iou_types = spec.get("iou_types", default)
    return isinstance(iou_types, (list, tuple)) and "segm" in iou_types
