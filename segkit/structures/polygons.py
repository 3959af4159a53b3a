"""Rasterises polygons to masks in their boxes, as pycocotools does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segkit.structures.rle import decode_counts, parse_strings
from segkit.utils.errors import SegkitError

# Largest coordinate. Beyond it, pycocotools' 32-bit arithmetic, with five points for each pixel, could overflow.
MAX_COORDINATE = 1e6
# Longest outline in pixels, a little more than a square with the largest coordinates has. pycocotools allocates 54 bytes
# for each pixel without a check, and crashes if there is not enough memory.
MAX_OUTLINE = 1e7
# Shortest run of pixels that pycocotools cannot write: it reserves six characters for each run, and after four runs of
# six characters it writes out of bounds. The second of these is the object's, which then covers whole columns.
MAX_RUN = 2**24


def draw_polygons(objects: Sequence[Sequence[Sequence[float]]], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Crops (bits, crop_boxes) of polygons' objects; see ``InstanceMasks.from_polygons``.

    pycocotools follows the outline on the full image, at the cost of the outline's length, and its runs are decoded into
    the crop. Moving the polygons into their boxes first would not be exact, because pycocotools rounds ``5 * x + 0.5``
    towards zero, below zero too. Its ``merge`` is not used, because each call allocates H x W.
    """
    flat: list[np.ndarray] = []
    owners: list[int] = []
    for i, polygons in enumerate(objects):
        for j, polygon in enumerate(polygons):
            flat.append(_checked(polygon, f"objects[{i}], polygon {j}"))
            owners.append(i)
    if not flat:
        return torch.zeros(0, dtype=torch.uint8), torch.zeros(len(objects), 4, dtype=torch.long)
    if not np.abs(np.concatenate(flat)).max() <= MAX_COORDINATE:  # also true for NaN; all at once, since it is rare
        k = next(k for k, points in enumerate(flat) if not np.abs(points).max() <= MAX_COORDINATE)
        where = f"objects[{owners[k]}], polygon {owners[:k].count(owners[k])}"
        raise SegkitError(f"{where}: coordinates must be finite and at most {MAX_COORDINATE:g}")
    _check_outlines(flat, owners, size)
    if size[0] * size[1] >= 4 * MAX_RUN:
        _check_runs(flat, owners, size)
    from pycocotools import mask as pycocotools

    rles = pycocotools.frPyObjects(flat, *size)
    counts, lengths = parse_strings([rle["counts"] for rle in rles])
    return decode_counts(counts, lengths, np.array(owners), len(objects), size)


def _check_outlines(flat: list[np.ndarray], owners: list[int], size: tuple[int, int]) -> None:
    """Raises a SegkitError for outlines that are too long to rasterise."""
    corners = np.concatenate(flat).reshape(-1, 2)
    ends = np.cumsum([len(points) // 2 for points in flat])
    starts = np.append(0, ends[:-1])
    following = np.arange(1, len(corners) + 1)
    following[ends - 1] = starts
    lengths = np.add.reduceat(np.abs(corners[following] - corners).max(1), starts)
    k, most = int(lengths.argmax()), max(MAX_OUTLINE, size[0] * size[1])
    if lengths[k] > MAX_OUTLINE:
        where = f"objects[{owners[k]}], polygon {owners[:k].count(owners[k])}"
        raise SegkitError(
            f"{where}: its outline is {lengths[k]:.0f} pixels long, at most {MAX_OUTLINE:.0f} can be drawn"
        )
    if lengths.sum() > most:
        raise SegkitError(
            f"the outlines of all polygons are {lengths.sum():.0f} pixels long, at most {most:.0f} can be drawn"
        )


def _check_runs(flat: list[np.ndarray], owners: list[int], size: tuple[int, int]) -> None:
    """Raises a SegkitError for polygons that cover too many whole columns of a very large image."""
    for k, points in enumerate(flat):
        x, y = points[::2].clip(0, size[1]), points[1::2]
        covers_columns = y.min() <= 1 and y.max() >= size[0] - 1
        if covers_columns and (x.max() - x.min() + 1) * size[0] >= MAX_RUN:
            where = f"objects[{owners[k]}], polygon {owners[:k].count(owners[k])}"
            raise SegkitError(
                f"{where}: it is as high as the image of {size[0]} x {size[1]} pixels and covers {MAX_RUN} of them or "
                "more; cut it in two, one above the other"
            )


def _checked(polygon: Sequence[float], where: str) -> np.ndarray:
    """A polygon as fp64 [2 * points]; raises a SegkitError if it has no such form."""
    points = np.asarray(polygon, dtype=np.float64)
    if points.ndim != 1 or len(points) % 2 or len(points) < 6:
        raise SegkitError(
            f"{where}: shape {list(points.shape)}, expected a flat list x0, y0, x1, y1, ... of at least three points"
        )
    return points
