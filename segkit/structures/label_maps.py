"""From a map of object numbers to masks in their boxes, in one pass."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segkit.structures.runs import fill_runs
from segkit.utils.errors import SegkitError


def cut_label_map(labels: Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
    """Crops (bits, crop_boxes) of the objects in a map.

    No comparison of the whole map with each value: the map is cut into runs of equal value within rows, of which there
    are few, and the runs are gathered by value.

    Args:
        labels: integers [H, W] up to 64 bits; each non-zero value is one object, the objects come in ascending order.

    Raises:
        SegkitError: not two-dimensional, or not integers.
    """
    values = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.ndim != 2:
        raise SegkitError(f"label map: shape {list(values.shape)}, expected [H, W]")
    if values.dtype.kind not in "iub":
        raise SegkitError(f"label map: values of type {values.dtype}, expected integers (0 is the background)")
    height, width = values.shape
    if values.size == 0:
        return torch.zeros(0, dtype=torch.uint8), torch.zeros(0, 4, dtype=torch.long)
    changes = np.ones((height, width), bool)
    np.not_equal(values[:, 1:], values[:, :-1], out=changes[:, 1:])
    starts = np.flatnonzero(changes)
    ends = np.append(starts[1:], values.size)
    ids = values.reshape(-1)[starts]
    kept = np.flatnonzero(ids)
    starts, ends = starts[kept], ends[kept]
    numbers, objects = np.unique(ids[kept], return_inverse=True)
    rows = starts // width
    bits, crop_boxes = fill_runs(objects.reshape(-1), rows, starts - rows * width, ends - rows * width, len(numbers))
    return torch.from_numpy(bits), torch.from_numpy(crop_boxes)
