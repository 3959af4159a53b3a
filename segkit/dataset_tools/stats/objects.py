"""Sizes, shapes and overlaps of a data set's objects, gathered image by image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segkit.data.formats.base import Dataset
from segkit.dataset_tools.stats.overlaps import measure_overlaps
from segkit.structures.targets import ALL_CLASSES


@dataclass(frozen=True)
class ObjectStats:
    """The objects of the measured images, one entry each.

    Crowd regions and objects without area are only counted.

    Attributes:
        image: int64 [N], position of the object's image among the measured ones.
        label: int64 [N].
        width, height: float32 [N], of the box in pixels of the file.
        area: float32 [N], pixels of the mask; NaN without one.
        center_y: float32 [N], the box's centre as a share of the image's height.
        box_iou, contained, mask_iou, touching: [N], as in :class:`~segkit.dataset_tools.stats.overlaps.Overlaps`.
        counts: int64 [M], objects of each measured image.
        crowds: number of crowd regions.
        ignored: number of ignore regions, where nothing is learnt.
        empty: number of objects whose box has no area.
    """

    image: np.ndarray
    label: np.ndarray
    width: np.ndarray
    height: np.ndarray
    area: np.ndarray
    center_y: np.ndarray
    box_iou: np.ndarray
    contained: np.ndarray
    mask_iou: np.ndarray
    touching: np.ndarray
    counts: np.ndarray
    crowds: int
    ignored: int
    empty: int

    def __len__(self) -> int:
        return len(self.label)

    @property
    def side(self) -> np.ndarray:
        """float32 [N]: square root of the box's area, in pixels."""
        return np.sqrt(self.width * self.height)

    @property
    def diameter(self) -> np.ndarray:
        """float32 [N]: diameter of the circle of the mask's area; NaN without a mask."""
        return np.sqrt(self.area * (4 / np.pi))

    @property
    def aspect(self) -> np.ndarray:
        """float32 [N]: height / width of the box, as in the anchors' ``aspect_ratios``."""
        return self.height / self.width

    @property
    def masked(self) -> np.ndarray:
        """bool [N]: the object has a mask."""
        return ~np.isnan(self.area)


def measure_objects(dataset: Dataset, indices: np.ndarray) -> tuple[ObjectStats, np.ndarray]:
    """Measures the objects of the images at ``indices``.

    Returns:
        the objects, and int64 [M, 2], the height and width of each image.
    """
    names = ("image", "label", "width", "height", "area", "center_y", "box_iou", "contained", "mask_iou", "touching")
    columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
    counts, sizes = [], []
    crowds = ignored = empty = 0
    for position, index in enumerate(indices.tolist()):
        targets = dataset.targets(index)
        size = dataset.size(index)
        sizes.append(size)
        ignored += int((targets.labels == ALL_CLASSES).sum())
        crowds += int((targets.crowd & (targets.labels != ALL_CLASSES)).sum())
        degenerate = targets.degenerate()
        empty += int((degenerate & ~targets.crowd).sum())
        targets = targets[~targets.crowd & ~degenerate]
        counts.append(len(targets))
        boxes = targets.boxes.numpy()
        area = np.full(len(targets), np.nan, np.float32)
        if targets.masks is not None:
            known = targets.has_mask.numpy()
            area[known] = targets.masks.areas().numpy()[known]
        overlaps = measure_overlaps(targets)
        row = {
            "image": np.full(len(targets), position, np.int64),
            "label": targets.labels.numpy(),
            "width": boxes[:, 2] - boxes[:, 0],
            "height": boxes[:, 3] - boxes[:, 1],
            "area": area,
            "center_y": (boxes[:, 1] + boxes[:, 3]) / (2 * size[0]),
            **{name: getattr(overlaps, name) for name in ("box_iou", "contained", "mask_iou", "touching")},
        }
        for name in names:
            columns[name].append(row[name])
    joined = {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in columns.items()}
    found = ObjectStats(**joined, counts=np.array(counts, np.int64), crowds=crowds, ignored=ignored, empty=empty)
    return found, np.array(sizes, np.int64).reshape(-1, 2)


def sampled_indices(length: int, limit: int, seed: int) -> np.ndarray:
    """All indices, or ``limit`` of them drawn without repetition, ascending; int64."""
    if length <= limit:
        return np.arange(length)
    return np.sort(np.random.default_rng(seed).choice(length, limit, replace=False))
