"""What every data set gives: samples, class names, the files' category ids."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of surrogate pairs, line and paragraph separators
UNSEEN = (
    "\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # byte order mark, marks that turn a line around
)


@dataclass(frozen=True)
class LostObjects:
    """Objects that a file lists and that training gets nothing from, for one reason.

    Attributes:
        reason: in the plural, as ``objects with a box of no width or height``.
        count: how many there are.
        places: the first of them, for messages.
        hint: what may be the cause, and what to do; empty where the reason says it.
        mistake: nobody has such objects on purpose, so that a single one is worth a warning.
        trained_on: training has them all the same; it is the evaluation that goes wrong.
    """

    reason: str
    count: int
    places: tuple[str, ...] = ()
    hint: str = ""
    mistake: bool = False
    trained_on: bool = False


class TrainingObjects(NamedTuple):
    """What there is to train on in one image: objects, crowd regions (which train nothing), objects with empty masks."""

    usable: int
    crowd: int = 0
    empty: int = 0


class Dataset(ABC):
    """Images with their objects, one :class:`Sample` an index.

    Attributes:
        classes: name of each label; label ``i`` is ``classes[i]``.
        category_ids: the id that the files use for each label; gaps are kept.
        image_ids: id of each image in results files.
    """

    classes: list[str]
    category_ids: list[int]
    image_ids: list[int]

    def __len__(self) -> int:
        return len(self.image_ids)

    @abstractmethod
    def load(self, index: int) -> Sample:
        """Read one image and its objects, untransformed, in the file's pixels, with the masks that there are.

        ``annotations`` is None.
        """

    @abstractmethod
    def label_counts(self, index: int) -> dict[int, int]:
        """How many objects of each label an image has (labels without objects left out); much cheaper than ``load``."""

    def object_counts(self) -> np.ndarray | None:
        """int64 [images]: how many objects each has, crowd regions left out.

        None: that takes reading masks or pixels, which nobody wants to wait for at the start of a run.
        """
        return None

    def unmasked_counts(self) -> np.ndarray | None:
        """int64 [images]: how many objects of each have a box and no mask, crowd regions left out.

        None: that takes reading the images.
        """
        return None

    def lost_objects(self) -> tuple[int, list[LostObjects]]:
        """How many objects the files list, and those of them that were lost on reading, each counted once.

        Only what is known without reading masks or pixels; (0, []) where nothing is.
        """
        return 0, []

    def training_objects(self, index: int) -> TrainingObjects:
        """What there is to train on in an image, before transforms. Formats that know it without the pixels say so."""
        sample = self.load(index)
        return training_objects(sample.targets, sample.dropped)

    def image_files(self) -> list[str] | None:
        """Absolute path of each image, by which two data sets are compared; None where images are no files."""
        return None

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of an image as ``load`` gives it; formats that know it without reading the pixels say so."""
        return self.load(index).size

    def ground_truth(self, index: int, sample: Sample) -> list[dict]:
        """Objects of ``load(index)`` (given as ``sample``) as evaluation wants them.

        Returns:
            A dict an object: ``bbox`` XYWH, ``segmentation`` RLE with str counts (None: no mask), ``area``, ``iscrowd``,
            ``label``.
        """
        return ground_truth_from_targets(sample)

    def describe(self) -> str:
        """One line: format and place."""
        return type(self).__name__

    def notes(self) -> list[str]:
        """What was skipped or looked odd when the data set was opened, one sentence each."""
        return []

    def summary(self) -> str:
        """Images, classes and what was skipped, for the log: nothing is left out in silence."""
        images = "1 image" if len(self) == 1 else f"{len(self):,} images"
        classes = ", ".join(self.classes) if len(self.classes) <= 12 else ", ".join(self.classes[:12]) + ", ..."
        head = f"{self.describe()}: {images}, {len(self.classes)} classes ({classes})"
        spaced = [name for name in self.classes if name != name.strip()]
        ends = (
            [f"the class names {', '.join(map(repr, spaced))} begin or end with a space, which is kept"]
            if spaced
            else []
        )
        return "\n".join([head, *(f"  note: {note}" for note in (*self.notes(), *ends))])

    def subset(self, indices: Sequence[int]) -> SubsetDataset:
        """The images at ``indices``, in that order."""
        return SubsetDataset(self, indices)


class SubsetDataset(Dataset):
    """Some images of another data set, with the same classes and the same ids."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = [int(i) for i in indices]
        self.classes = dataset.classes
        self.category_ids = dataset.category_ids
        self.image_ids = [dataset.image_ids[i] for i in self.indices]

    def load(self, index: int) -> Sample:
        return self.dataset.load(self.indices[index])

    def label_counts(self, index: int) -> dict[int, int]:
        return self.dataset.label_counts(self.indices[index])

    def object_counts(self) -> np.ndarray | None:
        counts = self.dataset.object_counts()
        return None if counts is None else counts[self.indices]

    def unmasked_counts(self) -> np.ndarray | None:
        counts = self.dataset.unmasked_counts()
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


def training_objects(targets: Targets, dropped: int = 0) -> TrainingObjects:
    """Counts objects: those to train on, crowd regions, and those whose mask or box is empty.

    Args:
        dropped: empty ones that reading has removed before.
    """
    empty, kept = targets.degenerate(), ~targets.crowd
    return TrainingObjects(int((~empty & kept).sum()), int(targets.crowd.sum()), int((empty & kept).sum()) + dropped)


def ground_truth_from_targets(sample: Sample) -> list[dict]:
    """Evaluation's ground truth, computed from the masks: boxes and areas are the masks' own.

    Of an object without a mask the area is the box's, and ``segmentation`` is None.
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


def category_of_name(name: str) -> int | None:
    """3 for ``class3``, the name that a class gets when nobody names it."""
    match = re.fullmatch(r"class(\d+)", name)
    return int(match.group(1)) if match else None


def default_category_ids(classes: Sequence[str]) -> list[int]:
    """Category ids where only names are known: K of ``classK`` if all are called so, else 1, 2, ..."""
    named = [category_of_name(name) for name in classes]
    if classes and None not in named and len(set(named)) == len(named):
        return [k for k in named if k is not None]
    return list(range(1, len(classes) + 1))


def check_classes(classes: Sequence[str], category_ids: Sequence[int] | None, source: str = "classes") -> None:
    """Checks the names of a data set's classes and their ids.

    A name is text on one line: tables, pictures, file formats and logs hold it. Spaces at its ends are kept, and are in
    :meth:`Dataset.summary`.

    Args:
        source: where the names are from, for the message.
    Raises:
        SegkitError: a name is empty, not text, or has control characters; names repeat, also but for spaces and Unicode
            form; there are not as many ids as names.
    """
    first: dict[str, str] = {}
    for number, name in enumerate(classes):
        if problem := name_problem(name):
            raise SegkitError(f"{source}: the name of class {number}, {name!r}, {problem}", key="classes", value=name)
        composed = unicodedata.normalize("NFC", name)
        before = first.get(composed.strip())
        if before == name:
            raise SegkitError(f"{source}: {name} occurs more than once", key="classes", value=list(classes))
        if before is not None:
            what = "their Unicode form" if unicodedata.normalize("NFC", before) == composed else "spaces"
            raise SegkitError(
                f"{source}: the names {before!r} and {name!r} differ only in {what}", key="classes", value=name
            )
        first[composed.strip()] = name
    if category_ids is not None and (len(category_ids) != len(classes) or len(set(category_ids)) != len(classes)):
        raise SegkitError(
            f"category_ids: {len(classes)} different ids are expected, one a class; got {list(category_ids)}",
            key="category_ids",
            value=list(category_ids),
        )


def name_problem(name: object) -> str | None:
    """What is wrong with a class name, and the name that would be right; None: nothing."""
    if not isinstance(name, str):
        return "is not text; put it in quotes"
    if not name.strip():
        return "is empty"
    bad = next((c for c in name if unicodedata.category(c) in UNPRINTABLE or c in UNSEEN), None)
    if bad is None:
        return None
    kind = (
        "a line break"
        if bad in "\n\r\v\f\x85\u2028\u2029"
        else f"the character U+{ord(bad):04X}, which cannot be shown"
    )
    better = " ".join("".join(" " if c == bad or unicodedata.category(c) in UNPRINTABLE else c for c in name).split())
    return f"has {kind}{f'; did you mean {better!r}?' if better else ''}"
