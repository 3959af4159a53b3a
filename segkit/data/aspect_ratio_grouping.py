"""Groups images by orientation, so that batches are padded less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from segkit.data.formats.base import Dataset

T = TypeVar("T")


def orientations(dataset: Dataset) -> bytes:
    """One byte an image: 1 if it is wider than tall, else 0.

    Reads image sizes by ``Dataset.size``.
    """
    return bytes(width > height for height, width in map(dataset.size, range(len(dataset))))


def batch_by_group(items: Sequence[T], groups: Sequence[int], batch_size: int) -> list[T]:
    """Reorders items so that consecutive batches hold items of one group, as far as possible.

    A batch is placed where its last item was, so that groups stay mixed over the epoch. The remaining items of all
    groups follow at the end: with two groups and a whole number of batches, they are one mixed batch or none.

    Args:
        items: in the order of use.
        groups: the group of each item.
        batch_size: number of items in a batch.
    """
    waiting: dict[int, list[T]] = {group: [] for group in sorted(set(groups))}
    ordered: list[T] = []
    for item, group in zip(items, groups, strict=True):
        waiting[group].append(item)
        if len(waiting[group]) == batch_size:
            ordered += waiting[group]
            waiting[group] = []
    return ordered + [item for group in waiting.values() for item in group]
