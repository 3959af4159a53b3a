"""Keys of a COCO JSON beside COCO's own, for formats that extend COCO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segkit.data.array_file import ArrayWriter


class UnknownId(NamedTuple):
    """A category id that an image lists and no category has.

    Attributes:
        image: list index of the image.
        category_id: the id.
        problem: the end of a message about it.
    """

    image: int
    category_id: int
    problem: str


class ExtraColumns:
    """What a table has beside COCO's keys: nothing here; a subclass collects it.

    Args:
        file: for messages.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def with_coco_keys(self, image: Any) -> Any:
        """An entry of the list ``images`` with the keys that COCO has."""
        return image

    def add_image(self, index: int, image: Any) -> None:
        """Checks the further keys of an entry of ``images``."""

    def add_category(self, index: int, category: Any) -> None:
        """Checks the further keys of an entry of ``categories``."""

    def unknown_ids(self, ids: Sequence[int]) -> Iterable[UnknownId]:
        """The category ids of images that are not among ``ids``."""
        return ()

    def finish(self, writer: ArrayWriter, ids: Sequence[int], kept: Sequence[int]) -> Mapping[str, Any]:
        """Writes arrays, and returns further facts of the table.

        Args:
            writer: of the table.
            ids: id of each category in the file's order.
            kept: indices of the categories that the table has, ascending.
        """
        return {}
