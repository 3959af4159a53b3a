"""Columns of a COCO table beside COCO's own keys, for formats that extend COCO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.data.array_file import ArrayWriter


class ExtraColumns:
    """What a table has beside COCO's keys; a subclass collects it.

    Args:
        file: for messages.
    """

    def __init__(self, file: Path) -> None:
        pass

    def images(self, items: Iterable[Any]) -> Iterable[Any]:
        """The entries of the list ``images``, as they will be checked."""
        return items

    def categories(self, items: Iterable[Any]) -> Iterable[Any]:
        """The entries of the list ``categories``."""
        return items

    def finish(self, writer: ArrayWriter, ids: Sequence[int], kept: Sequence[int]) -> Mapping[str, Any]:
        """Writes arrays, and returns further facts of the table.

        Args:
            writer: of the table.
            ids: id of each category in the file's order.
            kept: indices of the categories that the table has, ascending.
        """
        return {}
