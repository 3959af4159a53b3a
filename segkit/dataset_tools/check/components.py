"""Parts and holes of masks, from the runs of pixels in their crops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segkit.structures.components import smallest_members


class RowRuns(NamedTuple):
    """Runs of set pixels in the rows of crops, sorted by object, row and column.

    Attributes:
        objects: int64 [R], index of each run's object.
        lines: int64 [R], row of each run, counted over the rows of all crops.
        starts, ends: int64 [R], first column in the crop, and the column after the last.
        stride: larger than any width, so that ``line * stride + column`` orders all pixels.
    """

    objects: np.ndarray
    lines: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    stride: int


def row_runs(bits: np.ndarray, crop_boxes: np.ndarray) -> RowRuns:
    """The runs of all crops at once.

    Args:
        bits: uint8 [P] of 0 and 1: the crops, each row-major, one after the other.
        crop_boxes: int64 [N, 4], x0, y0, x1, y1; only the sides are used.
    """
    widths, heights = (crop_boxes[:, 2:] - crop_boxes[:, :2]).T
    line_widths = np.repeat(widths, heights)
    line_ends = line_widths.cumsum()
    line_starts = line_ends - line_widths
    neighbour = np.zeros(len(bits) + 1, np.uint8)
    neighbour[1:] = bits
    neighbour[line_starts] = 0
    starts = np.flatnonzero(bits > neighbour[:-1])
    neighbour[:-1] = bits
    neighbour[line_ends] = 0
    ends = np.flatnonzero(bits > neighbour[1:]) + 1
    lines = np.searchsorted(line_ends, starts, side="right")
    objects = np.repeat(np.arange(len(crop_boxes)), heights)[lines]
    stride = int(widths.max(initial=0)) + 2
    return RowRuns(objects, lines, starts - line_starts[lines], ends - line_starts[lines], stride)


def touching_runs(runs: RowRuns) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs [E] of one object in successive rows that touch, at a side or a corner."""
    start_keys, end_keys = (runs.lines * runs.stride + column for column in (runs.starts, runs.ends))
    below = (runs.lines + 1) * runs.stride
    first = np.searchsorted(end_keys, below + runs.starts, side="left")
    last = np.searchsorted(start_keys, below + runs.ends, side="right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(runs.lines)), counts)
    lower = np.arange(len(upper)) - np.repeat(counts.cumsum() - counts, counts) + np.repeat(first, counts)
    same = runs.objects[upper] == runs.objects[lower]  # the next row may be the first of another object
    return upper[same], lower[same]


def parts_and_holes(bits: np.ndarray, crop_boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of 8-connected parts [N] and of holes [N] of each mask.

    A hole is a 4-connected region of unset pixels that the mask encloses. Runs are contractible and so are their
    contacts, hence parts - holes = runs - contacts (the Euler number), and only the parts have to be counted.

    Args:
        bits: uint8 [P] of 0 and 1, as in ``InstanceMasks``; masks of several images may be joined.
        crop_boxes: int64 [N, 4].
    """
    count = len(crop_boxes)
    runs = row_runs(bits, crop_boxes)
    upper, lower = touching_runs(runs)
    number = np.bincount(runs.objects, minlength=count)
    contacts = np.bincount(runs.objects[upper], minlength=count)
    euler = number - contacts
    # Most masks have one run in each row and touch the next: a chain, whose number of parts is known.
    rows = crop_boxes[:, 3] - crop_boxes[:, 1]
    is_first = np.diff(runs.lines, prepend=-1) > 0
    filled_rows = np.bincount(runs.objects[is_first], minlength=count)
    is_chain = (number == rows) & (filled_rows == rows) & (contacts == rows - 1)
    parts = np.where(number > 0, 1, 0)
    rest = ~is_chain & (number > 0)
    if rest.any():
        chosen = np.flatnonzero(rest[runs.objects])
        position = np.cumsum(rest[runs.objects]) - 1
        edges = rest[runs.objects[upper]]
        roots = smallest_members(len(chosen), position[upper[edges]], position[lower[edges]])
        is_root = roots == np.arange(len(chosen))
        parts[rest] = np.bincount(runs.objects[chosen][is_root], minlength=count)[rest]
    return parts, parts - euler
