"""Data sets whose objects are pixels of other files: label maps, masks, PNGs of ids."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from segkit.data.formats.base import Dataset
from segkit.data.formats.class_names import check_classes
from segkit.data.formats.lazy_samples import open_lazily, sample_without_image
from segkit.data.formats.objects import TrainingObjects, training_objects
from segkit.structures.lazy_targets import Window
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets

UNKNOWN = -1  # number of objects that was not counted yet


class PixelDataset(Dataset):
    """Images whose masks are read together with the image.

    Opening the data set reads no pixels. A subclass calls the constructor when it knows its images, and defines the
    abstract methods.

    Args:
        count: number of images.
        classes: name of each label.
        category_ids: the id of each.
        where: the data set, for messages.
        image_ids: the id of each image; by default 1, 2, ...
    """

    def __init__(
        self,
        count: int,
        classes: Sequence[str],
        category_ids: Sequence[int],
        where: str,
        image_ids: Sequence[int] | None = None,
    ) -> None:
        self.where = where
        self.classes, self.category_ids = list(classes), list(category_ids)
        check_classes(self.classes, self.category_ids, f"{where}: classes")
        self.image_ids = list(range(1, count + 1)) if image_ids is None else list(image_ids)
        # Number of objects by image and label, counted on request because it may need the masks.
        self._counts = np.full((count, len(self.classes)), UNKNOWN, np.int32)

    @abstractmethod
    def image_file(self, index: int) -> Path:
        """The file of an image."""

    @abstractmethod
    def name(self, index: int) -> str:
        """The image in messages and results, usually its path relative to the data set."""

    @abstractmethod
    def read_targets(self, index: int, size: tuple[int, int]) -> Targets:
        """Reads the masks of an image of ``size`` (H, W); those of empty mask files are included."""

    @abstractmethod
    def count_labels(self, index: int) -> np.ndarray:
        """Number of objects of each label in an image, int [classes]."""

    def load(self, index: int) -> Sample:
        image = self.reader.read(self.image_file(index))
        size = (image.shape[1], image.shape[2])
        targets = self.read_targets(index, size)
        kept = ~targets.degenerate()
        dropped = int((~kept).sum())
        targets = targets[kept] if dropped else targets
        return Sample(image, targets, self.image_ids[index], self.name(index), size, None, dropped=dropped)

    def open(self, index: int) -> Sample:
        return open_lazily(self, index, self.image_file(index), self.name(index), None, self.where)

    def open_targets(self, index: int) -> Sample:
        return sample_without_image(self, index, self.name(index))

    def targets(self, index: int, window: Window | None = None) -> Targets:
        return self.window_targets(index, window)[0]

    def all_targets(self, index: int) -> Targets:
        return self.read_targets(index, self.size(index))

    def window_targets(self, index: int, window: Window | None) -> tuple[Targets, int]:
        targets = self.all_targets(index)
        kept = targets[~targets.degenerate()]
        return kept, len(targets) - len(kept)

    def label_counts(self, index: int) -> dict[int, int]:
        if self.classes and self._counts[index, 0] == UNKNOWN:
            counts = self.count_labels(index)
            # The count of label 0 is set last, because other threads take it as a sign that all are set.
            self._counts[index, 1:] = counts[1:]
            self._counts[index, 0] = counts[0]
        return {label: count for label, count in enumerate(self._counts[index].tolist()) if count}

    def unmasked_counts(self) -> np.ndarray:
        return np.zeros(len(self), np.int64)  # every object has a mask

    def training_objects(self, index: int) -> TrainingObjects:
        return training_objects(self.all_targets(index))

    def image_files(self) -> list[str]:
        return [str(self.image_file(i).absolute()) for i in range(len(self))]

    def size(self, index: int) -> tuple[int, int]:
        return self.reader.size(self.image_file(index))

    def describe(self) -> str:
        return self.where


def targets_of(
    parts: Sequence[tuple[InstanceMasks, Sequence[int]]], size: tuple[int, int], crowd: Sequence[bool] | None = None
) -> Targets:
    """Targets of masks with their boxes.

    Args:
        parts: masks of an image, with the label of each.
        size: (H, W) of the image.
        crowd: of all masks together; None: none is a crowd region.
    """
    masks = InstanceMasks.cat([part for part, _ in parts]) if parts else InstanceMasks.empty(size)
    labels = torch.tensor([label for _, own in parts for label in own], dtype=torch.int64)
    return Targets(masks.boxes(), labels, masks, None if crowd is None else torch.tensor(crowd, dtype=torch.bool))  # type: ignore[arg-type]
