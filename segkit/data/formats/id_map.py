"""Reads id maps: JSON files that list the images of a test folder with their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.data.formats.parsing.categories import read_categories
from segkit.data.formats.parsing.json_stream import stream_list
from segkit.data.formats.parsing.json_values import as_integer, not_integer_message, not_text_message, shown
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.paths import local_path
from segkit.utils.paths.spellings import name_key


@dataclass(frozen=True)
class ImageEntry:
    """One image of an id map; ``size`` is (H, W), or None if the map does not state it."""

    file_name: str
    image_id: int
    size: tuple[int, int] | None = None


def load_id_map(path: str) -> list[ImageEntry]:
    """Reads an id map ``[{"file_name", "id", "height", "width"}, ...]`` in the file's order.

    A COCO file of any size (its list "images") is an id map too. Height and width are optional.

    Raises:
        SegkitError: not JSON, not such a list, an empty list, an entry without a name or an integer id or with only one
            of height and width, a name or an id that occurs twice.
    """
    file = local_path(path, "id map", kind="file")
    entries: list[ImageEntry] = []
    names: set[str] = set()
    ids: set[int] = set()
    for index, item in enumerate(_items(file)):
        if not isinstance(item, dict):
            raise SegkitError(f"{file}: entry {index} is {shown(item)}; expected a mapping with 'file_name' and 'id'")
        name, image_id = item.get("file_name"), as_integer(item.get("id"))
        if not isinstance(name, str):
            problem = not_text_message(item, "file_name")
            raise SegkitError(f"{file}: entry {index}: {problem}; each entry needs a 'file_name' and an 'id'")
        if not name.strip() or "\0" in name:
            raise SegkitError(f"{file}: entry {index}: 'file_name' is {shown(name)}; expected the name of an image")
        if image_id is None:
            raise SegkitError(f"{file}: entry {index} ('{name}'): {not_integer_message(item, 'id')}")
        if name_key(name) in names or image_id in ids:
            what = f"the file name '{name}'" if name_key(name) in names else f"the id {image_id}"
            raise SegkitError(f"{file}: entry {index} ('{name}', id {image_id}) repeats {what} of an earlier entry")
        names.add(name_key(name))
        ids.add(image_id)
        entries.append(ImageEntry(name, image_id, _size(f"{file}: entry {index} ('{name}')", item)))
    if not entries:
        raise SegkitError(f"{file}: the id map lists no images", value=path)
    return entries


def id_map_category_ids(path: str, classes: Sequence[str]) -> list[int] | None:
    """The category ids of an id map for some classes; None if the file has no categories.

    An evaluation server that has this COCO file expects its ids in the results, not those of the training data.

    Raises:
        SegkitError: the file has categories without one of the classes, or its categories are invalid.
    """
    file = local_path(path, "id map")
    ids = _ids_by_name(file)
    if not ids:
        return None
    lacking = [name for name in classes if name not in ids]
    if lacking:
        raise SegkitError(
            f"{file}: its categories are {', '.join(list(ids)[:20])}; the model's class '{lacking[0]}' is not among them"
            f"{did_you_mean(lacking[0], ids)}; remove 'categories' from the id map to use the training data's ids",
            value=str(path),
        )
    return [ids[name] for name in classes]


def all_category_ids(path: str) -> list[int] | None:
    """The ids of all categories of an id map; None if the file has no categories."""
    return list(_ids_by_name(local_path(path, "id map", kind="file")).values()) or None


def _ids_by_name(file: Path) -> dict[str, int]:
    """The category ids of an id map; empty if it has no categories."""
    try:
        found = read_categories(file, stream_list(file, "categories", named=True))
        return {category.name: category.id for category in found}
    except LookupError:
        return {}


def _items(file: Path) -> Iterator[Any]:
    """The entries of an id map or a COCO file, unchecked."""
    try:
        yield from stream_list(file, "images")
    except LookupError:
        raise SegkitError(
            f'{file}: is not an id map; expected [{{"file_name": ..., "id": ..., "height": ...}}, ...]', value=str(file)
        ) from None


def _size(where: str, item: dict[str, Any]) -> tuple[int, int] | None:
    """(H, W) of an entry, None if it has neither.

    Raises a SegkitError if they are not two positive whole numbers.
    """
    if item.get("height") is None and item.get("width") is None:
        return None
    height, width = as_integer(item.get("height")), as_integer(item.get("width"))
    if height is None or width is None or height < 1 or width < 1:
        raise SegkitError(
            f"{where}: 'height' is {shown(item.get('height'))} and 'width' is {shown(item.get('width'))}; expected two "
            "positive whole numbers, or neither"
        )
    return height, width


def check_size(file: object, found: tuple[int, int], expected: tuple[int, int] | None, source: str) -> None:
    """Raises a SegkitError if an image has another size than the annotations state.

    Args:
        file: the image, for the message.
        found: its (H, W).
        expected: the stated (H, W); None: none is stated.
        source: the file that states it, for the message.
    """
    if expected is not None and tuple(found) != tuple(expected):
        swapped = ""
        if tuple(found) == tuple(expected)[::-1]:
            swapped = ", width and height exchanged; images are read upright, as their orientation tag says"
        raise SegkitError(
            f"{file}: the image is {found[1]} x {found[0]} pixels, but {source} says {expected[1]} x {expected[0]}{swapped}"
        )
