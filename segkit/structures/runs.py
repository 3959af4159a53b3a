"""Crops from runs of set pixels, all objects at once (numpy)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Runs(NamedTuple):
    """Runs of set pixels of several objects on one image, by object and position; those of an object do not overlap.

    Attributes:
        objects: int64 [R], the object that a run belongs to.
        starts: int64 [R], its first pixel, where pixels are counted column by column: column * H + row.
        ends: int64 [R], the pixel after its last one.
    """

    objects: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def join_runs(pieces: Sequence[Runs]) -> Runs:
    """All runs of the pieces, whose order does not matter."""
    if not pieces:
        return Runs(*np.zeros((3, 0), np.int64))
    objects, starts, ends = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
    order = np.lexsort((starts, objects))
    return Runs(objects[order], starts[order], ends[order])


def ragged_arange(lengths: np.ndarray) -> np.ndarray:
    """0..length-1 for each length, one after the other."""
    ends = lengths.cumsum()
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def fill_runs(
    objects: np.ndarray, rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The tight crops of objects given as runs of pixels within rows.

    Args:
        objects: int [R] in 0..count-1, in any order. The runs of an object may overlap: their union is taken.
        rows: int [R].
        starts: int [R], first column.
        ends: int [R], end column (exclusive), more than ``starts``.
        count: number of objects; those without runs get the empty crop.

    Returns:
        uint8 [P] and int64 [count, 4], as InstanceMasks wants them.
    """
    far = np.iinfo(np.int64).max
    crop_boxes = np.tile(np.array([far, far, 0, 0]), (count, 1))
    for column, (reduce, values) in enumerate(
        [(np.minimum, starts), (np.minimum, rows), (np.maximum, ends), (np.maximum, rows + 1)]
    ):
        reduce.at(crop_boxes[:, column], objects, values)
    crop_boxes[crop_boxes[:, 2] == 0] = 0
    widths = crop_boxes[:, 2] - crop_boxes[:, 0]
    sizes = widths * (crop_boxes[:, 3] - crop_boxes[:, 1])
    offsets = sizes.cumsum() - sizes
    # +1 where a run starts, -1 where it ends: the running sum counts the runs that cover a pixel.
    steps = np.zeros(int(sizes.sum()) + 1, np.int32)
    line = offsets[objects] + (rows - crop_boxes[objects, 1]) * widths[objects] - crop_boxes[objects, 0]
    one = np.ones(len(line), np.int32)  # an array of the same type: with a plain 1 this takes 20 times as long
    np.add.at(steps, line + starts, one)
    np.subtract.at(steps, line + ends, one)
    return (np.cumsum(steps[:-1], out=steps[:-1]) > 0).view(np.uint8), crop_boxes
