"""The LVIS format: a COCO JSON that says of which classes each image shows all objects."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from segkit.data.formats.coco import Coco
from segkit.data.formats.lvis.table import LvisTable
from segkit.data.formats.recognition import Recognition
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.lazy_targets import Window
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets

FREQUENCY_NAMES = {"r": "rare", "c": "common", "f": "frequent"}
SPLITS = ("train", "val", "test")
IMAGE_FOLDERS = ("train2017", "val2017", "test2017")  # that LVIS's file names begin with
CERTAINTY = 0.9  # COCO's own: beside a file of COCO's objects, the user says which
LOOKED_AT = 1 << 16  # bytes at each end of a file that recognition reads


@DATASET_FORMAT_REGISTRY.register(name="lvis")
class Lvis(Coco):
    """Images and objects of an LVIS JSON, version 1 (Gupta, Dollar and Girshick 2019).

    Each image has a list of classes that it is known not to show (``neg_category_ids``), and one of classes of which only
    some of its objects are annotated (``not_exhaustive_category_ids``). Of the classes that are neither annotated nor in
    the first list nothing is known. These and those of the second list are the ``unlabelled`` ones of its targets: a
    background proposal is no evidence against them, and an unmatched detection of them no mistake.

    Args:
        json: the annotation file.
        images: the folder that holds ``train2017`` and ``val2017``. An image without a ``file_name`` has the last two
            parts of its ``coco_url`` as its path there.
        classes: names in the order of the labels; by default the file's categories by ascending id.

    Attributes:
        frequencies: ``r``, ``c`` or ``f`` (rare, common, frequent) of each class; None if the file has none for it.
    """

    table_type = LvisTable
    _table: LvisTable

    def __init__(self, *, json: str, images: str, classes: Sequence[str] | None = None) -> None:
        super().__init__(json=json, images=images, classes=classes)
        by_name = dict(zip(self._table.category_ids, self._table.frequencies, strict=True))
        self.frequencies = [by_name.get(name) for name in self.classes]

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        if path.is_file():
            return _recognition([path], path.parent) if _is_lvis(path) else None
        files = [file for file in _json_files(path) if _is_lvis(file)]
        return _recognition(files, path) if files else None

    def load(self, index: int) -> Sample:
        sample = super().load(index)
        return dataclasses.replace(sample, targets=self._with_unlabelled(sample.targets, index))

    def open(self, index: int) -> Sample:
        return super().open(index)  # lazy samples get their targets from window_targets

    def window_targets(self, index: int, window: Window | None) -> tuple[Targets, int]:
        targets, others = super().window_targets(index, window)
        return self._with_unlabelled(targets, index), others

    def all_targets(self, index: int) -> Targets:
        return self._with_unlabelled(super().all_targets(index), index)

    def unlabelled(self, index: int) -> torch.Tensor:
        """int64, ascending: the classes of which an image may show objects that are not annotated."""
        is_unknown = np.ones(len(self.classes) + 1, bool)  # the last entry is that of categories that are no class
        for known in (self._table.categories(index), self._table.negative(index)):
            is_unknown[self._labels[known]] = False
        is_unknown[self._labels[self._table.not_exhaustive(index)]] = True
        return torch.from_numpy(np.flatnonzero(is_unknown[:-1]))

    def describe(self) -> str:
        return f"LVIS data set {self.file}"

    def notes(self) -> list[str]:
        notes = super().notes()
        unknown = sum(len(self.unlabelled(index)) for index in range(len(self)))
        notes.append(
            f"an image says of {len(self.classes) - unknown / len(self):,.1f} of the {len(self.classes):,} classes, on "
            "average, that all its objects of them are annotated"
        )
        counts = Counter(self.frequencies)
        if named := [f"{counts[key]:,} {name}" for key, name in FREQUENCY_NAMES.items() if counts[key]]:
            notes.append(f"classes by frequency: {', '.join(named)}")
        return notes

    def _with_unlabelled(self, targets: Targets, index: int) -> Targets:
        return dataclasses.replace(targets, unlabelled=self.unlabelled(index))


def _json_files(folder: Path) -> Iterator[Path]:
    """The JSON files of a folder and of its folder ``annotations``."""
    for parent in (folder, folder / "annotations"):
        if parent.is_dir():
            yield from sorted(file for file in parent.iterdir() if file.suffix.lower() == ".json" and file.is_file())


def _is_lvis(file: Path) -> bool:
    """Whether the beginning or end of a file has keys that only LVIS's files have."""
    if file.suffix.lower() != ".json":
        return False
    try:
        with open(file, "rb") as stream:
            text = stream.read(LOOKED_AT)
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - LOOKED_AT))
            text += stream.read()
    except OSError:
        return False
    return b'"neg_category_ids"' in text or (b'"synset"' in text and b'"frequency"' in text)


def _recognition(files: Sequence[Path], folder: Path) -> Recognition:
    """The recognition of LVIS files whose images are below ``folder`` or beside it."""
    parents = [folder, folder / "images", folder.parent]
    images = next((p for p in parents if any((p / name).is_dir() for name in IMAGE_FOLDERS)), folder)
    specs = {file: {"format": "lvis", "json": str(file), "images": str(images)} for file in files}
    splits: dict[str, dict[str, str]] = {}
    for file, spec in specs.items():
        name = next((split for split in SPLITS if split in file.stem.lower()), file.stem)
        splits.setdefault(name, spec)
    first = splits.get("train", specs[files[0]])
    reason = f"{files[0].name} has the keys of LVIS, as neg_category_ids or frequency"
    return Recognition(first, reason, splits if len(files) > 1 else {}, certainty=CERTAINTY)
