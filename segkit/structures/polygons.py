"""Polygons to masks in their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segkit.structures.rle import decode_counts, parse_strings
from segkit.utils.errors import SegkitError

# Beyond this pycocotools' 32-bit arithmetic, at five points a pixel, could overflow.
FARTHEST = 1e6
# Pixels of one outline, a little more than a square of the farthest corners has. pycocotools takes 54 bytes for each, and
# where there is not so much memory it does not ask, but crashes.
LONGEST = 1e7
# Runs of pixels that pycocotools has no room for: it reserves six characters a run, and a zero behind four runs that take
# all of them lands in memory that is not its own. The second of them is the object's, which has to cover whole columns.
LONGEST_RUN = 2**24


def draw_polygons(objects: Sequence[Sequence[Sequence[float]]], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Crops (bits, crop_boxes) of objects given as polygons; see ``InstanceMasks.from_polygons``.

    pycocotools walks the outline on the full image, which costs what the outline is long, and its runs go straight
    into the crop. Shifting polygons into their boxes first would not be exact: it rounds ``5 * x + 0.5`` in floating
    point, towards zero also below zero. Neither would its ``merge`` do, which allocates H x W a call.
    """
    flat: list[np.ndarray] = []
    owners: list[int] = []
    for i, polygons in enumerate(objects):
        for j, polygon in enumerate(polygons):
            flat.append(_checked(polygon, f"objects[{i}], polygon {j}"))
            owners.append(i)
    if not flat:
        return torch.zeros(0, dtype=torch.uint8), torch.zeros(len(objects), 4, dtype=torch.long)
    if not np.abs(np.concatenate(flat)).max() <= FARTHEST:  # also NaN; all at once, as it is rarely so
        k = next(k for k, points in enumerate(flat) if not np.abs(points).max() <= FARTHEST)
        where = f"objects[{owners[k]}], polygon {owners[:k].count(owners[k])}"
        raise SegkitError(f"{where}: coordinates must be finite and at most {FARTHEST:g}")
    _check_outlines(flat, owners, size)
    if size[0] * size[1] >= 4 * LONGEST_RUN:
        _check_runs(flat, owners, size)
    from pycocotools import mask as pycocotools

    rles = pycocotools.frPyObjects(flat, *size)
    counts, lengths = parse_strings([rle["counts"] for rle in rles])
    return decode_counts(counts, lengths, np.array(owners), len(objects), size)


def _check_outlines(flat: list[np.ndarray], owners: list[int], size: tuple[int, int]) -> None:
    """SegkitError for outlines so long (many corners, far from each other) that walking them would take memory or time."""
    corners = np.concatenate(flat).reshape(-1, 2)
    ends = np.cumsum([len(points) // 2 for points in flat])
    starts = np.append(0, ends[:-1])
    following = np.arange(1, len(corners) + 1)
    following[ends - 1] = starts
    lengths = np.add.reduceat(np.abs(corners[following] - corners).max(1), starts)
    k, most = int(lengths.argmax()), max(LONGEST, size[0] * size[1])
    if lengths[k] > LONGEST:
        where = f"objects[{owners[k]}], polygon {owners[:k].count(owners[k])}"
        raise SegkitError(f"{where}: its outline is {lengths[k]:.0f} pixels long, at most {LONGEST:.0f} can be drawn")
    if lengths.sum() > most:
        raise SegkitError(
            f"the outlines of all polygons are {lengths.sum():.0f} pixels long, at most {most:.0f} can be drawn"
        )


def _check_runs(flat: list[np.ndarray], owners: list[int], size: tuple[int, int]) -> None:
    """SegkitError for polygons that cover so many whole columns of a very large image that their runs get too long."""
    for k, points in enumerate(flat):
        x, y = points[::2].clip(0, size[1]), points[1::2]
        covers_columns = y.min() <= 1 and y.max() >= size[0] - 1
        if covers_columns and (x.max() - x.min() + 1) * size[0] >= LONGEST_RUN:
            where = f"objects[{owners[k]}], polygon {owners[:k].count(owners[k])}"
            raise SegkitError(
                f"{where}: it is as high as the image of {size[0]} x {size[1]} pixels and covers {LONGEST_RUN} of them or "
                "more; cut it in two, one above the other"
            )


def _checked(polygon: Sequence[float], where: str) -> np.ndarray:
    points = np.asarray(polygon, dtype=np.float64)
    if points.ndim != 1 or len(points) % 2 or len(points) < 6:
        raise SegkitError(
            f"{where}: shape {list(points.shape)}, expected a flat list x0, y0, x1, y1, ... of at least three points"
        )
    return points
