"""The pixels that two crops share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def common_window(
    first_box: Sequence[int], second_box: Sequence[int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where two crop boxes overlap, as rows and columns of the first crop and of the second one."""
    x0, y0 = max(first_box[0], second_box[0]), max(first_box[1], second_box[1])
    x1, y1 = max(x0, min(first_box[2], second_box[2])), max(y0, min(first_box[3], second_box[3]))
    a, b = ((slice(y0 - box[1], y1 - box[1]), slice(x0 - box[0], x1 - box[0])) for box in (first_box, second_box))
    return a, b


def shared_pixels(first: np.ndarray, first_box: Sequence[int], second: np.ndarray, second_box: Sequence[int]) -> int:
    """Number of pixels that two crops share."""
    a, b = common_window(first_box, second_box)
    return int(np.count_nonzero(first[a] & second[b]))
