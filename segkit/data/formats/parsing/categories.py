"""The list ``categories`` of a COCO JSON, which id maps and panoptic files have too."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from segkit.data.formats.parsing.json_values import as_integer, mappings, not_integer_message, not_text_message
from segkit.utils.errors import SegkitError


class Category(NamedTuple):
    """An entry of the list ``categories``."""

    name: str
    id: int


def read_categories(file: Path, items: Iterable[Any]) -> list[Category]:
    """Reads all categories in the file's order; names may repeat, ids may not.

    Args:
        file: for messages.
        items: the entries of the list ``categories``.
    Raises:
        SegkitError: an id that is not a whole number or repeats, a name that is empty or not text.
    """
    categories: list[Category] = []
    index_of_id: dict[int, int] = {}
    for index, category in enumerate(mappings(file, "categories", items)):
        where = f"{file}: categories[{index}]"
        name, category_id = category.get("name"), as_integer(category.get("id"))
        if not isinstance(name, str):
            problem = not_text_message(category, "name")
            raise SegkitError(f"{where}: {problem}; each category needs a 'name' and an 'id', a whole number")
        if not name.strip():
            raise SegkitError(f"{where}: 'name' is empty; expected the name of a class")
        if category_id is None:
            raise SegkitError(f"{where} ('{name}'): {not_integer_message(category, 'id')}")
        if category_id in index_of_id:
            first = index_of_id[category_id]
            raise SegkitError(
                f"{where} ('{name}') repeats the id {category_id} of categories[{first}] ('{categories[first].name}'); "
                "each category needs an id of its own"
            )
        index_of_id[category_id] = index
        categories.append(Category(name, category_id))
    return categories
