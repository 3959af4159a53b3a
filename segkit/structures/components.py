"""Connected components of a label map, from its runs of equal pixels.

No library of segkit's requirements labels components; scikit-image's ``measure.label`` is what the tests compare with.
"""

from __future__ import annotations

import numpy as np
import torch

from segkit.structures.label_maps import LabelRuns, label_runs
from segkit.structures.masks import InstanceMasks
from segkit.structures.runs import fill_runs, ragged_arange


def connected_components(labels: np.ndarray, connectivity: int = 8) -> tuple[np.ndarray, InstanceMasks]:
    """Splits a label map into connected regions of equal non-zero value.

    Args:
        labels: integers or bool [H, W].
        connectivity: 8: pixels that touch at a corner belong together; 4: only those that share an edge.
    Returns:
        The value of each region [N], and the regions' masks, in the order of their first pixels, row by row.
    """
    runs = label_runs(labels)
    owners, values = _components(runs, connectivity)
    bits, crop_boxes = fill_runs(owners, runs.rows, runs.starts, runs.ends, len(values))
    size = (labels.shape[0], labels.shape[1])
    return values, InstanceMasks(torch.from_numpy(bits), torch.from_numpy(crop_boxes), size)


def component_values(labels: np.ndarray, connectivity: int = 8) -> np.ndarray:
    """The value of each connected region [N]; see :func:`connected_components`."""
    return _components(label_runs(labels), connectivity)[1]


def _components(runs: LabelRuns, connectivity: int) -> tuple[np.ndarray, np.ndarray]:
    """The component of each run, numbered by their first runs, and the value of each component."""
    first, second = touching_runs(runs, connectivity)
    roots = smallest_members(len(runs.starts), first, second)
    kinds, owners = np.unique(roots, return_inverse=True)  # a root is the component's first run
    return owners.reshape(-1), runs.values[kinds]


def touching_runs(runs: LabelRuns, connectivity: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs of equal value in neighbouring rows that touch, as two index arrays."""
    assert connectivity in (4, 8), connectivity
    corner = connectivity == 8
    values, rows, starts, ends = runs
    stride = int(ends.max(initial=0)) + 2  # runs widened by a corner stay within their row's part of the line
    below = (rows + 1) * stride
    low = np.searchsorted(rows * stride + ends, below + starts - corner, side="right")
    high = np.searchsorted(rows * stride + starts, below + ends + corner, side="left")
    lengths = np.maximum(high - low, 0)
    upper = np.repeat(np.arange(len(starts)), lengths)
    lower = np.repeat(low, lengths) + ragged_arange(lengths)
    equal = values[upper] == values[lower]
    return upper[equal], lower[equal]


def smallest_members(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The smallest member [count] of each node's connected set, by hooking and pointer jumping.

    Args:
        count: number of nodes.
        first: one end of each edge.
        second: the other end.
    """
    parents = np.arange(count)
    while len(first):
        a, b = parents[first], parents[second]
        open_edges = a != b
        first, second, a, b = first[open_edges], second[open_edges], a[open_edges], b[open_edges]
        np.minimum.at(parents, np.maximum(a, b), np.minimum(a, b))
        while True:
            jumped = parents[parents]
            if np.array_equal(jumped, parents):
                break
            parents = jumped
    return parents
