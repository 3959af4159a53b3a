"""Batches of images of like shape: a batch is padded to its widest and its highest image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from segkit.data.formats.base import Dataset

T = TypeVar("T")


def orientations(dataset: Dataset) -> bytes:
    """For each image 1 where it is wider than high, else 0. Formats that tell ``size`` need not read an image."""
    return bytes(width > height for height, width in map(dataset.size, range(len(dataset))))


def batch_by_group(items: Sequence[T], groups: Sequence[int], batch_size: int) -> list[T]:
    """All items in an order in which each ``batch_size`` of them, as far as possible, are of one group.

    A batch comes when its last item does, so that groups stay mixed over the epoch. The left-over items of all groups
    come last: with two groups and a whole number of batches that is one mixed batch or none.

    Args:
        items: in the order of use.
        groups: the group of each item.
        batch_size: items a batch.
    """
    waiting: dict[int, list[T]] = {group: [] for group in sorted(set(groups))}
    ordered: list[T] = []
    for item, group in zip(items, groups, strict=True):
        waiting[group].append(item)
        if len(waiting[group]) == batch_size:
            ordered += waiting[group]
            waiting[group] = []
    return ordered + [item for group in waiting.values() for item in group]
