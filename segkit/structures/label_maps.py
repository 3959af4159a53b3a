"""Converts a label map (an integer for each object) to masks in their boxes, in one pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segkit.structures.runs import fill_runs
from segkit.utils.errors import SegkitError


class LabelRuns(NamedTuple):
    """Runs of equal non-zero labels within the rows of a label map, in the order of its pixels.

    Attributes:
        values: [R], the label of each run, in the map's type.
        rows: int64 [R].
        starts: int64 [R], first column.
        ends: int64 [R], the column after the last.
    """

    values: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def label_runs(labels: np.ndarray) -> LabelRuns:
    """The runs of a label map [H, W] of integers or bool."""
    height, width = labels.shape
    if labels.size == 0:
        return LabelRuns(np.zeros(0, labels.dtype), *np.zeros((3, 0), np.int64))
    changes = np.ones((height, width), bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=changes[:, 1:])
    starts = np.flatnonzero(changes)
    ends = np.append(starts[1:], labels.size)
    values = labels.reshape(-1)[starts]
    kept = np.flatnonzero(values)
    starts, ends = starts[kept], ends[kept]
    rows = starts // width
    return LabelRuns(values[kept], rows, starts - rows * width, ends - rows * width)


def cut_labels(labels: Tensor | np.ndarray, kept: np.ndarray | None = None) -> tuple[np.ndarray, Tensor, Tensor]:
    """Cuts out the objects of a label map, by ascending label.

    The map is not compared with each value. It is split into runs of equal labels within rows, of which there are few,
    and the runs are grouped by label.

    Args:
        labels: integers [H, W] up to 64 bits; each label but 0 is one object.
        kept: the labels to cut, if they occur; None: all but 0.
    Returns:
        the labels, and the objects' bits and crop_boxes (see :class:`~segkit.structures.masks.InstanceMasks`).
    Raises:
        SegkitError: not two-dimensional, or not integers.
    """
    label_map = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if label_map.ndim != 2:
        raise SegkitError(f"label map: shape {list(label_map.shape)}, expected [H, W]")
    if label_map.dtype.kind not in "iub":
        raise SegkitError(f"label map: values of type {label_map.dtype}, expected integers (0 is the background)")
    runs = label_runs(label_map)
    if kept is not None:
        runs = LabelRuns(*(part[np.isin(runs.values, kept)] for part in runs))
    kinds, objects = np.unique(runs.values, return_inverse=True)
    bits, crop_boxes = fill_runs(objects.reshape(-1), runs.rows, runs.starts, runs.ends, len(kinds))
    return kinds, torch.from_numpy(bits), torch.from_numpy(crop_boxes)
