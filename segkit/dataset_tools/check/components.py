"""Parts and holes of masks, from the runs of pixels in their crops."""

from __future__ import annotations

import numpy as np

from segkit.structures.components import smallest_members, touching_runs
from segkit.structures.label_maps import LabelRuns


def row_runs(bits: np.ndarray, crop_boxes: np.ndarray) -> LabelRuns:
    """The runs of set pixels of all crops at once.

    Their values are the indices of the objects; their rows are counted over all crops.

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
    return LabelRuns(objects, lines, starts - line_starts[lines], ends - line_starts[lines])


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
    number = np.bincount(runs.values, minlength=count)
    contacts = np.bincount(runs.values[upper], minlength=count)
    euler = number - contacts
    # Most masks have one run in each row and touch the next: a chain, whose number of parts is known.
    rows = crop_boxes[:, 3] - crop_boxes[:, 1]
    is_first = np.diff(runs.rows, prepend=-1) > 0
    filled_rows = np.bincount(runs.values[is_first], minlength=count)
    is_chain = (number == rows) & (filled_rows == rows) & (contacts == rows - 1)
    parts = np.where(number > 0, 1, 0)
    rest = ~is_chain & (number > 0)
    if rest.any():
        chosen = np.flatnonzero(rest[runs.values])
        position = np.cumsum(rest[runs.values]) - 1
        edges = rest[runs.values[upper]]
        roots = smallest_members(len(chosen), position[upper[edges]], position[lower[edges]])
        is_root = roots == np.arange(len(chosen))
        parts[rest] = np.bincount(runs.values[chosen][is_root], minlength=count)[rest]
    return parts, parts - euler
