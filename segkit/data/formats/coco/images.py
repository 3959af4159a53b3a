"""The list of images of a COCO JSON, checked and stored as columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.formats.parsing.json_values import as_integer, mappings, not_integer_message, not_text_message, shown
from segkit.utils.errors import SegkitError
from segkit.utils.paths.missing_files import leads_out


def _url_hint(image: dict) -> str:
    """The name in LVIS's ``coco_url``, as the end of a message; empty if there is none."""
    url = image.get("coco_url")
    return f"; its 'coco_url' ends with '{'/'.join(url.split('/')[-2:])}'" if isinstance(url, str) else ""


class Images:
    """The entries of the list ``images`` as columns.

    Args:
        file: for messages.
        items: the entries.

    Attributes:
        ids: int64 [images].
        heights, widths: int32 [images].
        names: the file names in UTF-8, one after the other.
        name_ends: int64 [images], where each name ends in ``names``.

    Raises:
        SegkitError: an entry without a valid file name, id, height or width; an id that repeats.
    """

    def __init__(self, file: Path, items: Iterable[Any]) -> None:
        self.ids, self.heights, self.widths = array("q"), array("i"), array("i")
        self.names, self.name_ends = bytearray(), array("q")
        for index, image in enumerate(mappings(file, "images", items)):
            where = f"{file}: images[{index}]"
            name, image_id = image.get("file_name"), as_integer(image.get("id"))
            if not isinstance(name, str):
                problem = not_text_message(image, "file_name")
                raise SegkitError(
                    f"{where}: {problem}; each image needs a 'file_name' and an 'id', a whole number{_url_hint(image)}"
                )
            if image_id is None:
                raise SegkitError(f"{where} ('{name}'): {not_integer_message(image, 'id')}")
            height, width = (as_integer(image.get(key), 2**31) for key in ("height", "width"))
            if height is None or width is None or height <= 0 or width <= 0:
                key = "height" if height is None or height <= 0 else "width"
                found = f"'{key}' is {shown(image[key])}" if key in image else f"there is no '{key}'"
                raise SegkitError(
                    f"{where} ('{name}') needs 'height' and 'width', whole numbers from 1 to {2**31 - 1}; {found}"
                )
            if not name.strip():
                raise SegkitError(f"{where}: 'file_name' is empty; expected a path in the folder of images, as 'a.png'")
            if leads_out(name):
                last = name.replace("\\", "/").rpartition("/")[2]
                raise SegkitError(
                    f"{where}: the file name '{name}' leads out of the folder of images; expected a path in it, as "
                    f"'{last or 'a.png'}'"
                )
            self.ids.append(image_id)
            self.heights.append(height)
            self.widths.append(width)
            self.names += name.encode("utf-8", "surrogatepass")
            self.name_ends.append(len(self.names))
        ids = np.asarray(self.ids)
        order = np.argsort(ids, kind="stable")
        repeated = order[1:][ids[order[1:]] == ids[order[:-1]]]
        if len(repeated):
            raise SegkitError(f"{file}: images[{repeated.min()}]: the id {ids[repeated.min()]} occurs twice")
