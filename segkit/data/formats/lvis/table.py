"""An LVIS JSON as flat arrays: those of a COCO JSON, and the class lists of its images."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from segkit.data.array_file import ArrayWriter
from segkit.data.formats.coco.extra_columns import ExtraColumns, UnknownId
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
    """Collects the keys of an LVIS JSON that COCO's JSON does not have."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._entries = array("q")  # list index of each image
        self._ids = {NEGATIVE: array("q"), NOT_EXHAUSTIVE: array("q")}
        self._ends = {NEGATIVE: array("q"), NOT_EXHAUSTIVE: array("q")}
        self._frequencies: dict[int, str] = {}

    def with_coco_keys(self, image: Any) -> Any:
        """The entry with a ``file_name`` from ``coco_url``, as ``train2017/000000391895.jpg``."""
        url = image.get("coco_url") if isinstance(image, dict) and "file_name" not in image else None
        return {**image, "file_name": "/".join(url.split("/")[-2:])} if isinstance(url, str) else image

    def add_image(self, index: int, image: Any) -> None:
        if not isinstance(image, dict):
            return  # an error of the reader of images
        found = {key: self._category_ids(index, key, image) for key in self._ids}
        self._entries.append(index)
        for key, ids in found.items():
            self._ids[key].extend(ids)
            self._ends[key].append(len(self._ids[key]))

    def add_category(self, index: int, category: Any) -> None:
        if not isinstance(category, dict) or category.get("frequency") is None:
            return
        frequency, category_id = category["frequency"], as_integer(category.get("id"))
        if frequency not in FREQUENCIES:
            self._fail("categories", index, f"'frequency' is {shown(frequency)}; expected 'r', 'c' or 'f'", frequency)
        if category_id is not None:
            self._frequencies[category_id] = frequency

    def unknown_ids(self, ids: Sequence[int]) -> Iterator[UnknownId]:
        for key, values in self._ids.items():
            found = np.asarray(values)
            for position in np.flatnonzero(~np.isin(found, np.asarray(ids, np.int64))).tolist():
                image = int(np.searchsorted(np.asarray(self._ends[key]), position, side="right"))
                value = values[position]
                yield UnknownId(self._entries[image], value, f"'{key}' has {value}, which is the id of no category")

    def finish(self, writer: ArrayWriter, ids: Sequence[int], kept: Sequence[int]) -> Mapping[str, Any]:
        """Writes the lists of each image; returns the frequency of each kept category."""
        for index, value, problem in self.unknown_ids(ids):
            self._fail("images", index, problem, value)
        index_of = {ids[category]: index for index, category in enumerate(kept)}
        for key, name in ((NEGATIVE, "negative"), (NOT_EXHAUSTIVE, "partly")):
            # A category that is ignored, because another one has its name, is skipped.
            indices = np.array([index_of.get(category_id, -1) for category_id in self._ids[key]], np.int32)
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
        raise SegkitError(f"{self.file}: {key}[{index}]: {problem}", value=value)


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
