"""Samples of large images, whose pixels and objects are read by window.

A crop of such a sample is bit for bit that of the loaded one, ``dropped`` included: only objects that cannot have a pixel
in the window are skipped, and they are counted as the objects that a crop removes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from segkit.data.formats.base import Dataset
from segkit.data.formats.id_map import check_size
from segkit.structures.lazy_targets import LazyTargets, Window
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets

REMEMBERED_IMAGES = 64  # images whose objects' regions a process keeps
EVERYWHERE = (-np.inf, -np.inf, np.inf, np.inf)


def open_lazily(
    dataset: Dataset, index: int, file: str | Path, file_name: str, stated: tuple[int, int] | None, source: str
) -> Sample:
    """The lazy sample of a large image; ``dataset.load(index)`` for any other.

    A format's ``open`` calls it.
    A subclass that changes ``load`` alone is always loaded.

    Args:
        dataset: whose ``window_targets`` reads the objects.
        index: of the image.
        file: the image file.
        file_name: of the sample.
        stated: (H, W) that the annotations state.
        source: the annotation file, for messages.
    """
    image = dataset.reader.open_if_large(file) if _overrides_both(dataset, "open") else None
    if image is None:
        return dataset.load(index)
    check_size(file, image.size, stated, source)
    targets = LazyTargets(partial(dataset.window_targets, index))
    return Sample(cast(Any, image), cast(Any, targets), dataset.image_ids[index], file_name, image.size, None)


def sample_without_image(dataset: Dataset, index: int, file_name: str) -> Sample:
    """``dataset.load(index)`` with an empty image in place of the file's.

    A format's ``open_targets`` calls it. A subclass that changes ``load`` alone is always loaded.

    Args:
        dataset: whose ``window_targets`` reads the objects.
        index: of the image.
        file_name: of the sample.
    """
    if not _overrides_both(dataset, "open_targets"):
        return dataset.open(index).with_targets()
    targets, dropped = dataset.window_targets(index, None)
    image = torch.zeros(0, 0, 0, dtype=torch.uint8)
    return Sample(image, targets, dataset.image_ids[index], file_name, dataset.size(index), None, dropped=dropped)


def _overrides_both(dataset: Dataset, method: str) -> bool:
    """Whether no class that changes ``load`` derives from the class that defines a method."""
    kinds = type(dataset).__mro__
    loads, own = (next(i for i, kind in enumerate(kinds) if name in vars(kind)) for name in ("load", method))
    return own <= loads


class RegionCache:
    """The regions that the objects of an image may cover, of the images used last.

    Each process fills its own.
    """

    def __init__(self) -> None:
        self._boxes: OrderedDict[int, np.ndarray] = OrderedDict()

    def touching(self, index: int, window: Window, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Indices of the objects whose region touches a window, ascending.

        Args:
            index: of the image.
            window: x0, y0, x1, y1.
            compute: returns the regions of all its objects, XYXY [N, 4].
        """
        boxes = self._boxes.get(index)
        if boxes is None:
            boxes = self._boxes[index] = compute()
            if len(self._boxes) > REMEMBERED_IMAGES:
                self._boxes.popitem(last=False)
        x0, y0, x1, y1 = window
        return np.flatnonzero((boxes[:, 0] < x1) & (boxes[:, 1] < y1) & (boxes[:, 2] > x0) & (boxes[:, 3] > y0))


def object_regions(segmentations: Sequence[Any], boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Regions XYXY [N, 4] that the objects cannot leave.

    Polygons cover their corners' box, with a pixel of margin for rounding. RLE is decoded. Objects whose region is not
    known are everywhere.

    Args:
        segmentations: polygon lists, RLE dicts or None, one an object.
        boxes: XYXY [N, 4] of the objects without a segmentation; NaN: unknown.
        size: (H, W) of the image.
    """
    regions = np.array(boxes, np.float64).reshape(-1, 4)
    encoded = [i for i, one in enumerate(segmentations) if isinstance(one, dict)]
    for i, one in enumerate(segmentations):
        if one is not None and not isinstance(one, dict) and len(one):
            points = np.concatenate([np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in one])
            regions[i] = [*(points.min(0) - 1), *(points.max(0) + 1)]
    for i in encoded:  # one by one: the crops of all objects together may be large
        regions[i] = InstanceMasks.from_rle([segmentations[i]], size).crop_boxes[0].numpy()
    regions[np.isnan(regions).any(1)] = EVERYWHERE
    return regions


def with_masks(targets: Targets, expected: bool, size: tuple[int, int]) -> Targets:
    """Targets whose ``masks`` are None unless some object of the whole image has a mask.

    Args:
        targets: of some of the image's objects.
        expected: whether the targets of the whole image have ``masks``.
        size: (H, W) of the image.
    """
    if expected == (targets.masks is not None):
        return targets
    return replace(targets, masks=InstanceMasks.empty(size, len(targets)) if expected else None)
