"""The categories of a COCO JSON with faults: each is listed, and the rest becomes classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.formats.class_names import name_problem
from segkit.data.formats.parsing.categories import Category, read_categories
from segkit.data.formats.parsing.json_values import as_integer
from segkit.utils.errors import SegkitError

OnFault = Callable[[str, int, str], None]  # kind, list index, message
INVALID_ID = 1 - 2**63  # of an image or a category, where an annotation has no whole number


class FaultyCategories:
    """The valid categories of a file.

    Categories of one name become one class, as do names that differ only in spaces or Unicode form, which the reader
    refuses.

    Args:
        file: for messages.
        on_fault: called for each fault.
    Attributes:
        invalid_ids: INVALID_ID and the ids of invalid entries, whose annotations are skipped without a fault of their own.
    """

    def __init__(self, file: Path, on_fault: OnFault) -> None:
        self.invalid_ids = {INVALID_ID}
        self._file, self._on_fault = file, on_fault
        self._classes: dict[str, int] = {}
        self._label_of = np.zeros(0, np.int64)
        self._categories: list[tuple[int, Category]] = []  # list index, and the entry

    def read(self, items: Iterable[Any]) -> None:
        """Checks the list of categories."""
        by_id: dict[int, str] = {}
        for index, item in enumerate(items):
            try:
                category = read_categories(self._file, [item])[0]
            except SegkitError as error:
                found = as_integer(item.get("id")) if isinstance(item, dict) else None
                if found is not None:
                    self.invalid_ids.add(found)
                text = str(error).removeprefix(f"{self._file}: categories[0]").lstrip(": ")
                self._on_fault("invalid_category", index, text)
                continue
            if problem := name_problem(category.name):
                self._on_fault("invalid_category", index, f"the name {category.name!r} {problem}")
            if category.id in by_id:
                text = f"'{category.name}' repeats the id {category.id} of '{by_id[category.id]}'"
                self._on_fault("repeated_category_id", index, text)
                continue
            by_id[category.id] = category.name
            self._categories.append((index, category))

    def ids(self) -> list[int]:
        """Ids of the valid categories, in the file's order."""
        return [category.id for _, category in self._categories]

    def match(self, ids: Any) -> tuple[np.ndarray, np.ndarray]:
        """Index of each id among the valid categories, and whether it is one of them.

        Lists the names of several categories with annotations.
        """
        searched = np.asarray(ids, np.int64)
        known = np.array(self.ids(), np.int64)
        if not len(known):
            return np.zeros(len(searched), np.int64), np.zeros(len(searched), bool)
        order = np.argsort(known)
        indices = order[np.searchsorted(known, searched, sorter=order).clip(max=len(known) - 1)]
        is_known = known[indices] == searched
        self._merge(np.bincount(indices[is_known], minlength=len(known)).tolist())
        return indices, is_known

    def labels(self, categories: np.ndarray) -> np.ndarray:
        """The class of each category, by its index among the valid ones."""
        return self._label_of[categories] if self._categories else categories

    def classes(self) -> dict[str, int]:
        """Name and id of each class, in the order of the labels."""
        return self._classes

    def _merge(self, counts: list[int]) -> None:
        """Makes one class of the categories of one name; a fault if several have annotations."""
        by_key: dict[str, list[int]] = {}
        for position, (_, category) in enumerate(self._categories):
            by_key.setdefault(clean_name(category.name) or f"category {category.id}", []).append(position)
        chosen: list[tuple[int, str, list[int]]] = []
        for key, positions in by_key.items():
            used = [position for position in positions if counts[position]]
            keeper = (used or positions[-1:])[0]
            for position in used[1:]:
                index, category = self._categories[position]
                first, other = self._categories[keeper]
                text = f"{category.name!r} (id {category.id}) is the name of categories[{first}] (id {other.id}) too"
                self._on_fault("repeated_category_name", index, text)
            name = self._categories[keeper][1].name
            chosen.append((self._categories[keeper][1].id, key if name_problem(name) else name, positions))
        self._label_of = np.zeros(len(self._categories), np.int64)
        for label, (_, _, positions) in enumerate(sorted(chosen)):
            self._label_of[positions] = label
        self._classes = {name: number for number, name, _ in sorted(chosen)}


def clean_name(name: str) -> str:
    """The name in Unicode's composed form, with single spaces and without invisible characters."""
    visible = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in unicodedata.normalize("NFC", name))
    return " ".join(visible.split())
