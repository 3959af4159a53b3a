"""Converts a label map (an integer for each object) to masks in their boxes, in one pass."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segkit.structures.runs import fill_runs
from segkit.utils.errors import SegkitError


def cut_label_map(labels: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
    """Crops (bits, crop_boxes) of the objects in a label map.

    The map is not compared with each value. It is split into runs of equal labels within rows, of which there are few,
    and the runs are grouped by label.

    Args:
        labels: integers [H, W] up to 64 bits; each label but 0 is one object, in ascending order.

    Raises:
        SegkitError: not two-dimensional, or not integers.
    """
    label_map = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if label_map.ndim != 2:
        raise SegkitError(f"label map: shape {list(label_map.shape)}, expected [H, W]")
    if label_map.dtype.kind not in "iub":
        raise SegkitError(f"label map: values of type {label_map.dtype}, expected integers (0 is the background)")
    height, width = label_map.shape
    if label_map.size == 0:
        return torch.zeros(0, dtype=torch.uint8), torch.zeros(0, 4, dtype=torch.long)
    changes = np.ones((height, width), bool)
    np.not_equal(label_map[:, 1:], label_map[:, :-1], out=changes[:, 1:])
    starts = np.flatnonzero(changes)
    ends = np.append(starts[1:], label_map.size)
    ids = label_map.reshape(-1)[starts]
    kept = np.flatnonzero(ids)
    starts, ends = starts[kept], ends[kept]
    kinds, objects = np.unique(ids[kept], return_inverse=True)
    rows = starts // width
    bits, crop_boxes = fill_runs(objects.reshape(-1), rows, starts - rows * width, ends - rows * width, len(kinds))
    return torch.from_numpy(bits), torch.from_numpy(crop_boxes)
