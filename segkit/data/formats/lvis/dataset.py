"""The LVIS format: a COCO JSON that says of which classes each image shows all objects."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from segkit.data.formats.coco import Coco
from segkit.data.formats.coco.recognition import CERTAINTY, describe_files, find_files, has_lvis_keys, values_of
from segkit.data.formats.lvis.table import LvisTable
from segkit.data.formats.recognition import Recognition
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.lazy_targets import Window
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets

FREQUENCY_NAMES = {"r": "rare", "c": "common", "f": "frequent"}
IMAGE_FOLDERS = ("train2017", "val2017", "test2017")  # that LVIS's file names begin with


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
        found = find_files(path, _image_names)
        return describe_files(found, path, "lvis", "LVIS's keys, as neg_category_ids or frequency", CERTAINTY)

    def load(self, index: int) -> Sample:
        sample = super().load(index)
        return dataclasses.replace(sample, targets=self._with_unlabelled(sample.targets, index))

    def open(self, index: int) -> Sample:
        return super().open(index)  # lazy samples get their targets from window_targets

    def open_targets(self, index: int) -> Sample:
        return super().open_targets(index)  # likewise

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


def _image_names(text: bytes) -> Sequence[str] | None:
    """The first image names in the beginning and end of a file, or the folders that they begin with.

    None if the file is not one of LVIS.
    """
    if not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") or not has_lvis_keys(text):
        return None
    of_urls = ["/".join(url.split("/")[-2:]) for url in values_of("coco_url", text)]
    return values_of("file_name", text) or of_urls or IMAGE_FOLDERS
