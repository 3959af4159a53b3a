"""A read-only list that worker processes share: all items serialised into one array."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


class PackedList:
    """Read-only list of small Python objects, pickled into one byte array.

    It is for file names and sizes of images.

    A forked worker that reads a list of dicts changes their reference counts, so that the system copies their pages and
    memory grows with every worker (Detectron2 issue 3847). One NumPy array has one reference count. Spawned workers get
    a copy each, so data that grow with the number of objects belong in an ``ArrayFile``. The pickles are read only by
    the process that made them and its workers.
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
