"""The id-map JSON of a test folder: which file has which id in the results."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.data.formats.json_stream import stream_list
from segkit.utils.errors import SegkitError
from segkit.utils.paths import local_path


@dataclass(frozen=True)
class ImageEntry:
    """One image of an id map; ``size`` is (H, W), or None where the map does not say."""

    file_name: str
    image_id: int
    size: tuple[int, int] | None = None


def load_id_map(path: str) -> list[ImageEntry]:
    """Read ``[{"file_name", "id", "height", "width"}, ...]``, in the file's order.

    A COCO file (the list under "images") is taken too, however large it is; height and width may be left out.

    Raises:
        SegkitError: not JSON, not such a list, an empty list, an entry without name or integer id, a name or an id that
            occurs twice.
    """
    file = local_path(path, "id map", kind="file")
    entries: list[ImageEntry] = []
    names: set[str] = set()
    ids: set[int] = set()
    for number, item in enumerate(_items(file)):
        name = item.get("file_name") if isinstance(item, dict) else None
        image_id = item.get("id") if isinstance(item, dict) else None
        if not isinstance(name, str) or not isinstance(image_id, int) or isinstance(image_id, bool):
            text = str(item)[:100]
            raise SegkitError(f"{file}: entry {number} needs a 'file_name' and an integer 'id'; it is {text}")
        if name_key(name) in names or image_id in ids:
            raise SegkitError(f"{file}: entry {number} repeats the file name '{name}' or the id {image_id}")
        names.add(name_key(name))
        ids.add(image_id)
        height, width = item.get("height"), item.get("width")
        known = isinstance(height, int) and isinstance(width, int)
        entries.append(ImageEntry(name, image_id, (height, width) if known else None))
    if not entries:
        raise SegkitError(f"{file}: the id map lists no images", value=path)
    return entries


def _items(file: Path) -> Iterator[Any]:
    try:
        yield from stream_list(file, "images")
    except LookupError:
        raise SegkitError(
            f'{file}: is no id map; expected [{{"file_name": ..., "id": ..., "height": ...}}, ...]', value=str(file)
        ) from None


def name_key(name: str) -> str:
    """What two spellings of one file name share: forward slashes, no ``./``, one Unicode form."""
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def check_size(file: object, found: tuple[int, int], expected: tuple[int, int] | None, source: str) -> None:
    """SegkitError where an image is not of the size that a file says; sizes are (H, W)."""
    if expected is not None and tuple(found) != tuple(expected):
        turned = tuple(found) == tuple(expected)[::-1]
        raise SegkitError(
            f"{file}: the image is {found[1]} x {found[0]} pixels, but {source} says {expected[1]} x {expected[0]}"
            + ("; images are read upright, as their orientation tag says" * turned)
        )
