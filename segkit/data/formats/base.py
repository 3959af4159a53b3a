"""The interface of a data set: samples, class names, and the category ids of its files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from segkit.data.formats.objects import (
    LostObjects,
    TrainingObjects,
    ground_truth_from_targets,
    training_objects,
)
from segkit.data.formats.recognition import Recognition
from segkit.structures.lazy_targets import Window
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.images import ImageReader


class Dataset(ABC):
    """Images with their objects; each index is one :class:`Sample`.

    A subclass sets the attributes and defines ``load`` and ``label_counts``. The other methods have defaults, which a
    subclass replaces if it can answer faster.

    Attributes:
        classes: name of each label; label ``i`` is ``classes[i]``.
        category_ids: the id of each label in the files, possibly with gaps.
        image_ids: the id of each image in results files.
        frequencies: ``r``, ``c`` or ``f`` (rare, common, frequent) of each class, None for an unknown one; empty if the
            format has none.
        reader: reads the image files; ``build_dataset`` replaces it by that of the configuration.
        exclusive: whether the format cannot hold overlapping objects of one class.
        expected: the files of the format, for the message when no format recognises the data; empty: the docstring's
            first line.
    """

    classes: list[str]
    category_ids: list[int]
    image_ids: list[int]
    frequencies: Sequence[str | None] = ()
    reader: ImageReader = ImageReader()
    exclusive: ClassVar[bool] = False
    expected: ClassVar[str] = ""

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        """Recognises data of this format by their content, for ``format: auto``.

        Args:
            path: an existing folder or file. Few files are opened: this is called for each format.
        Returns:
            The spec that opens the data, and the reason; None if they are of another format.
        """
        return None

    def __len__(self) -> int:
        return len(self.image_ids)

    @abstractmethod
    def load(self, index: int) -> Sample:
        """Reads one image and its objects, untransformed, in the file's pixels.

        ``annotations`` is None.
        """

    def open(self, index: int) -> Sample:
        """``load(index)``; a large image and its objects are not read yet (:attr:`Sample.is_lazy`).

        Formats that read images by window override this method (:mod:`segkit.data.formats.lazy_samples`).
        """
        return self.load(index)

    def open_targets(self, index: int) -> Sample:
        """``load(index)``, of which the image may be empty.

        Evaluations of finished results need no more. Formats that need no image for the targets override this method.
        """
        return self.open(index).with_targets()

    def targets(self, index: int, window: Window | None = None) -> Targets:
        """The objects of ``load(index)``, in the file's pixels.

        Formats that need no image for it override this method.

        Args:
            index: of the image.
            window: (x0, y0, x1, y1): only the objects that may have a pixel in it are needed. They are returned whole.
        """
        return self.load(index).targets

    def window_targets(self, index: int, window: Window | None) -> tuple[Targets, int]:
        """``targets(index, window)``, and the number of the image's other objects.

        Objects without an area count as others.
        """
        sample = self.load(index)
        return sample.targets, sample.dropped

    def all_targets(self, index: int) -> Targets:
        """All objects in the file's order, those without area included, which ``load`` drops.

        Formats that drop objects override this method.
        """
        return self.targets(index)

    @abstractmethod
    def label_counts(self, index: int) -> dict[int, int]:
        """Number of objects of each label in an image, without labels of 0 objects.

        This is much cheaper than ``load``.
        """

    def object_counts(self) -> np.ndarray | None:
        """int64 [images]: number of objects of each image, without crowd regions.

        Returns None if counting needs masks or pixels, which would delay the start of a run.
        """
        return None

    def unmasked_counts(self) -> np.ndarray | None:
        """int64 [images]: number of objects with a box but no mask, without crowd regions.

        Returns None if counting needs the images.
        """
        return None

    def counts_of(self, labels: Collection[int], *, unmasked: bool = False) -> np.ndarray | None:
        """int64 [images]: number of objects with one of the labels, without crowd regions.

        With ``unmasked`` only those without a mask; None if counting these needs the images.
        """
        if unmasked:
            known = self.unmasked_counts()
            return known if known is not None and not known.any() else None
        counts = (self.label_counts(index) for index in range(len(self)))
        return np.array([sum(n for label, n in one.items() if label in labels) for one in counts], np.int64)

    def lost_objects(self) -> tuple[int, list[LostObjects]]:
        """Number of objects in the files, and the objects lost on reading, each counted once.

        Covers only what is known without reading masks or pixels; (0, []) if nothing is.
        """
        return 0, []

    def training_objects(self, index: int) -> TrainingObjects:
        """Counts an image's objects before transforms.

        Formats that need no pixels for it override this method.
        """
        sample = self.load(index)
        return training_objects(sample.targets, sample.dropped)

    def image_files(self) -> list[str] | None:
        """Absolute path of each image, to find images that two data sets share.

        Returns None if images are not files.
        """
        return None

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the image of ``load(index)``.

        Formats that need no pixels for it override this method.
        """
        return self.load(index).size

    def ground_truth(self, index: int, sample: Sample) -> list[dict]:
        """The objects of an image in the form that evaluation uses.

        Args:
            index: of the image.
            sample: the result of ``load(index)``.
        Returns:
            One dict an object: ``bbox`` XYWH, ``segmentation`` RLE with str counts (None: no mask), ``area``,
            ``iscrowd``, ``label`` (``ALL_CLASSES``: an ignore region, with ``iscrowd`` 1).
        """
        return ground_truth_from_targets(sample)

    def describe(self) -> str:
        """Format and path of the data set, on one line."""
        return type(self).__name__

    def notes(self) -> list[str]:
        """Sentences about what was skipped or looked wrong when the data set was opened."""
        return []

    def summary(self) -> str:
        """Number of images, classes, and all notes, for the log."""
        images = "1 image" if len(self) == 1 else f"{len(self):,} images"
        classes = ", ".join(self.classes) if len(self.classes) <= 12 else ", ".join(self.classes[:12]) + ", ..."
        head = f"{self.describe()}: {images}, {len(self.classes)} classes ({classes})"
        notes = list(self.notes())
        if spaced := [name for name in self.classes if name != name.strip()]:
            notes.append(f"the class names {', '.join(map(repr, spaced))} begin or end with a space, which is kept")
        return "\n".join([head, *(f"  note: {note}" for note in notes)])

    def subset(self, indices: Sequence[int]) -> SubsetDataset:
        """A data set of the images at ``indices``, in that order."""
        return SubsetDataset(self, indices)


class SubsetDataset(Dataset):
    """Some images of another data set, with the same classes and ids."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = [int(i) for i in indices]
        self.classes = dataset.classes
        self.category_ids = dataset.category_ids
        self.image_ids = [dataset.image_ids[i] for i in self.indices]
        self.frequencies = dataset.frequencies

    @property
    def reader(self) -> ImageReader:
        return self.dataset.reader

    @reader.setter
    def reader(self, reader: ImageReader) -> None:
        self.dataset.reader = reader

    def load(self, index: int) -> Sample:
        return self.dataset.load(self.indices[index])

    def open(self, index: int) -> Sample:
        return self.dataset.open(self.indices[index])

    def open_targets(self, index: int) -> Sample:
        return self.dataset.open_targets(self.indices[index])

    def targets(self, index: int, window: Window | None = None) -> Targets:
        return self.dataset.targets(self.indices[index], window)

    def window_targets(self, index: int, window: Window | None) -> tuple[Targets, int]:
        return self.dataset.window_targets(self.indices[index], window)

    def all_targets(self, index: int) -> Targets:
        return self.dataset.all_targets(self.indices[index])

    def label_counts(self, index: int) -> dict[int, int]:
        return self.dataset.label_counts(self.indices[index])

    def object_counts(self) -> np.ndarray | None:
        counts = self.dataset.object_counts()
        return None if counts is None else counts[self.indices]

    def unmasked_counts(self) -> np.ndarray | None:
        counts = self.dataset.unmasked_counts()
        return None if counts is None else counts[self.indices]

    def counts_of(self, labels: Collection[int], *, unmasked: bool = False) -> np.ndarray | None:
        counts = self.dataset.counts_of(labels, unmasked=unmasked)
        return None if counts is None else counts[self.indices]

    def lost_objects(self) -> tuple[int, list[LostObjects]]:
        return self.dataset.lost_objects()

    def training_objects(self, index: int) -> TrainingObjects:
        return self.dataset.training_objects(self.indices[index])

    def image_files(self) -> list[str] | None:
        files = self.dataset.image_files()
        return None if files is None else [files[i] for i in self.indices]

    def size(self, index: int) -> tuple[int, int]:
        return self.dataset.size(self.indices[index])

    def ground_truth(self, index: int, sample: Sample) -> list[dict]:
        return self.dataset.ground_truth(self.indices[index], sample)

    def describe(self) -> str:
        return f"{len(self)} of {len(self.dataset)} images of {self.dataset.describe()}"

    def notes(self) -> list[str]:
        return self.dataset.notes()
