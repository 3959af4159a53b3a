"""A list that worker processes share: all items serialised into one array."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


class PackedList:
    """Read-only list of plain Python values, kept as one byte buffer with offsets: for what an image needs little of.

    A forked worker that merely reads a list of dicts writes to their reference counts, so that the pages are copied
    and memory grows with every worker (Detectron2 issue 3847). One numpy array has one reference count. Spawned workers
    get a copy each; what grows with the objects is in an ``ArrayFile``. The pickles never leave the process and its
    workers.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        parts = [pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL) for item in items]
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(parts), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[Any]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = int(self._ends[index - 1]) if index else 0
        return pickle.loads(self._bytes[start : int(self._ends[index])].tobytes())
