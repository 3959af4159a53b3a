"""An LVIS JSON as flat arrays: those of a COCO JSON, and the class lists of its images."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from segkit.data.array_file import ArrayWriter
from segkit.data.formats.coco.extra_columns import ExtraColumns
from segkit.data.formats.coco.table import DTYPES, CocoTable
from segkit.data.formats.parsing.json_values import as_integer, shown
from segkit.utils.errors import SegkitError

NEGATIVE, NOT_EXHAUSTIVE = "neg_category_ids", "not_exhaustive_category_ids"
FREQUENCIES = ("r", "c", "f")  # rare, common, frequent
LVIS_DTYPES = {
    **DTYPES,
    # indices into the list of categories, and where those of each image end
    "negative": "<i4",
    "negative_end": "<i8",
    "partly": "<i4",
    "partly_end": "<i8",
}


class LvisColumns(ExtraColumns):
    """Collects the keys of an LVIS JSON that COCO's JSON does not have.

    Args:
        file: for messages.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ids = {NEGATIVE: array("q"), NOT_EXHAUSTIVE: array("q")}
        self._ends = {NEGATIVE: array("q"), NOT_EXHAUSTIVE: array("q")}
        self._frequencies: dict[int, str] = {}

    def images(self, items: Iterable[Any]) -> Iterator[Any]:
        """The entries, with a ``file_name`` from ``coco_url``, as ``train2017/000000391895.jpg``."""
        for values in (*self._ids.values(), *self._ends.values()):
            del values[:]  # of two lists of a name the reader takes the last
        for index, image in enumerate(items):
            if not isinstance(image, dict):
                yield image  # an error of the reader of images
                continue
            for key in (NEGATIVE, NOT_EXHAUSTIVE):
                self._ids[key].extend(self._category_ids(index, key, image))
                self._ends[key].append(len(self._ids[key]))
            url = image.get("coco_url")
            if "file_name" not in image and isinstance(url, str):
                image = {**image, "file_name": "/".join(url.split("/")[-2:])}
            yield image

    def categories(self, items: Iterable[Any]) -> Iterator[Any]:
        """The entries, whose frequencies are remembered."""
        self._frequencies = {}
        for index, category in enumerate(items):
            if isinstance(category, dict) and category.get("frequency") is not None:
                frequency, category_id = category["frequency"], as_integer(category.get("id"))
                if frequency not in FREQUENCIES:
                    self._fail(
                        "categories", index, f"'frequency' is {shown(frequency)}; expected 'r', 'c' or 'f'", frequency
                    )
                if category_id is not None:
                    self._frequencies[category_id] = frequency
            yield category

    def finish(self, writer: ArrayWriter, ids: Sequence[int], kept: Sequence[int]) -> Mapping[str, Any]:
        """Writes the lists of each image; returns the frequency of each kept category."""
        index_of = {ids[category]: index for index, category in enumerate(kept)}
        for key, name in ((NEGATIVE, "negative"), (NOT_EXHAUSTIVE, "partly")):
            found = np.asarray(self._ids[key])
            unknown = np.flatnonzero(~np.isin(found, np.asarray(ids, np.int64)))
            if len(unknown):
                image = int(np.searchsorted(np.asarray(self._ends[key]), unknown[0], side="right"))
                value = int(found[unknown[0]])
                self._fail("images", image, f"'{key}' has {value}, which is the id of no category", value)
            # A category that is ignored, because another one has its name, is skipped.
            indices = np.array([index_of.get(category_id, -1) for category_id in found.tolist()], np.int32)
            ends = np.append(0, (indices >= 0).cumsum())[np.asarray(self._ends[key], np.int64)]
            writer.add(name, indices[indices >= 0], LVIS_DTYPES[name])
            writer.add(f"{name}_end", ends, LVIS_DTYPES[f"{name}_end"])
        return {"frequencies": [self._frequencies.get(ids[category]) for category in kept]}

    def _category_ids(self, index: int, key: str, image: Mapping[str, Any]) -> list[int]:
        """A list of category ids of an image."""
        if key not in image:
            self._fail(
                "images", index, f"there is no '{key}', a list of category ids that LVIS has for each image; format: coco "
                "reads files without it"
            )  # fmt: skip
        ids = image[key]
        found = [as_integer(value) for value in ids] if isinstance(ids, list) else [None]
        if None in found:
            self._fail("images", index, f"'{key}' is {shown(ids)}; expected a list of category ids", ids)
        return [category_id for category_id in found if category_id is not None]

    def _fail(self, key: str, index: int, problem: str, value: Any = None) -> NoReturn:
        raise SegkitError(f"{self._file}: {key}[{index}]: {problem}", value=value)


class LvisTable(CocoTable):
    """The checked content of an LVIS JSON in arrays.

    Attributes:
        frequencies: ``r``, ``c`` or ``f`` of each category, None if the file has none.
    """

    dtypes = LVIS_DTYPES
    layout = "lvis 1"
    columns = LvisColumns

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.frequencies: list[str | None] = self.arrays.facts["frequencies"]

    def negative(self, index: int) -> np.ndarray:
        """int32: the categories that an image is known not to show."""
        return self._of_image("negative", index)

    def not_exhaustive(self, index: int) -> np.ndarray:
        """int32: the categories of which not all objects of an image are annotated."""
        return self._of_image("partly", index)

    def _of_image(self, name: str, index: int) -> np.ndarray:
        ends = self.arrays[f"{name}_end"]
        return self.arrays[name][int(ends[index - 1]) if index else 0 : int(ends[index])]
