"""Traces masks to polygons along the edges of their pixels, exactly.

Every corner of an outline lies between four pixels, of which one differs from the other three, or two that touch at the
corner differ from the other two. Each corner ends one horizontal and one vertical side, so along a row of corners the
first and second are joined, the third and fourth, and so on; along a column as well. Following these pairs yields the
rings. Rasterising them with :meth:`~segkit.structures.InstanceMasks.from_polygons` restores the mask bit for bit, because
pycocotools samples the centres of pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segkit.structures.masks import InstanceMasks
from segkit.structures.ragged import arrays
from segkit.structures.runs import ragged_arange

Part = tuple[np.ndarray, list[np.ndarray]]
MAX_PAIRS = 1 << 16  # of vertices that are compared to find the shortest bridge between two rings
MAX_RINGS = 256  # of an object; the bridges of more rings all begin at its first vertex

# For each code of four pixels (1 top left, 2 top right, 4 bottom left, 8 bottom right): the pixels, by the same bits, that
# have a corner of the outline where the four meet.
_CORNERS = np.array([0, 1, 2, 0, 4, 0, 2 | 4, 8, 8, 1 | 8, 0, 4, 0, 2, 1, 0], np.uint8)


class _Corners(NamedTuple):
    """Corners of outlines, sorted by owner, Y and X; of two at one place, the one with its side to the left is first.

    Attributes:
        owners: int64 [K], index of the object.
        xs: int64 [K].
        ys: int64 [K].
        goes_down: bool [K], whether the vertical side lies below the corner.
        is_set: bool [K], whether the pixel at the corner's bottom right is set.
    """

    owners: np.ndarray
    xs: np.ndarray
    ys: np.ndarray
    goes_down: np.ndarray
    is_set: np.ndarray


def mask_outlines(masks: InstanceMasks) -> list[list[Part]]:
    """The outlines of masks: for each object its parts, each an outer ring and its holes.

    Parts are 4-connected: pixels that touch at a corner belong to two parts, and a hole may pass between such pixels. A
    ring is int64 [K, 2]: X and Y of its corners in the image's pixels, without collinear corners and without a repeated
    last one. Outer rings run clockwise on the screen (Y down), holes counter-clockwise. Parts are sorted by their first
    row. An empty mask has no parts.

    Rasterised by :meth:`~segkit.structures.InstanceMasks.from_polygons`, the mask is the union of its parts, each of them
    the outer ring without its holes. A part may lie in a hole of another one, so holes have to be cut out part by part.
    """
    objects: list[list[Part]] = [[] for _ in range(len(masks))]
    corners = _find_corners(masks)
    if not len(corners.owners):
        return objects
    rings, ring_of = _follow(_vertical_partners(corners).tolist())
    first = np.array([ring[0] for ring in rings])
    is_part = corners.is_set[first]
    part_of = _enclosing_parts(corners, first, is_part, ring_of)
    points = np.stack([corners.xs, corners.ys], 1)
    owners = corners.owners[first].tolist()
    parts: dict[int, Part] = {}
    for ring, (indices, part) in enumerate(zip(rings, part_of, strict=True)):
        if part == ring:
            parts[ring] = (points[indices], [])
            objects[owners[ring]].append(parts[ring])
        else:
            parts[part][1].append(points[indices[::-1]])
    return objects


def even_odd_polygon(parts: list[Part]) -> np.ndarray:
    """One polygon of all parts and holes of an object, joined by bridges of no width.

    A bridge runs there and back along the same line. The rule of even and odd crossings, which pycocotools uses, fills
    exactly the object's pixels.

    Args:
        parts: of one object, at least one; see :func:`mask_outlines`.
    Returns:
        int64 [K, 2].
    """
    polygon, *rings = [ring for outer, holes in parts for ring in (outer, *holes)]
    if len(rings) > MAX_RINGS:
        spokes = [np.concatenate([polygon[:1], ring, ring[:1]]) for ring in rings]
        polygon, rings = np.concatenate([polygon, *spokes, polygon[:1]]), []
    for ring in rings:
        here, there = _nearest_vertices(polygon, ring)
        turned = np.roll(ring, -there, 0)
        polygon = np.concatenate([polygon[: here + 1], turned, turned[:1], polygon[here:]])
    return polygon[(polygon != np.roll(polygon, 1, 0)).any(1)]


def _find_corners(masks: InstanceMasks) -> _Corners:
    """All corners of the masks' outlines."""
    found = [np.zeros((5, 0), np.int64)]
    crops = zip(arrays(masks.bits, masks.crop_boxes), masks.crop_boxes.tolist(), strict=True)
    for index, (crop, (x0, y0, _, _)) in enumerate(crops):
        padded = np.zeros((crop.shape[0] + 2, crop.shape[1] + 2), np.uint8)
        padded[1:-1, 1:-1] = crop
        halves = padded[:-1] + 4 * padded[1:]
        codes = halves[:, :-1] + 2 * halves[:, 1:]
        kinds = _CORNERS[codes]
        y, x = np.nonzero(kinds)
        kind = kinds[y, x]
        # Pixels 1 and 4 have their horizontal side to the left of the place, pixels 2 and 8 to the right.
        place, is_right = np.nonzero(np.stack([kind & 5, kind & 10], 1))
        down = np.where(is_right, kind[place] & 8, kind[place] & 4) > 0
        y, x = y[place], x[place]
        found.append(np.stack([np.full(len(y), index), x + x0, y + y0, down, codes[y, x] >> 3]))
    owners, xs, ys, down, is_set = np.concatenate(found, 1)
    return _Corners(owners, xs, ys, down.astype(bool), is_set.astype(bool))


def _vertical_partners(corners: _Corners) -> np.ndarray:
    """Index [K] of the corner at the other end of each corner's vertical side."""
    # At one place, the side that comes from above ends before the one below begins.
    order = np.lexsort((corners.goes_down, corners.ys, corners.xs, corners.owners))
    partners = np.empty(len(order), np.int64)
    partners[order[::2]], partners[order[1::2]] = order[1::2], order[::2]
    return partners


def _follow(vertical: list[int]) -> tuple[list[list[int]], np.ndarray]:
    """The indices of each ring's corners from its first one, and the ring [K] of each corner.

    The corners at the ends of a horizontal side have the indices 2i and 2i + 1, because of their order.
    """
    rings: list[list[int]] = []
    ring_of = [-1] * len(vertical)
    for start in range(0, len(vertical), 2):
        if ring_of[start] >= 0:
            continue
        ring: list[int] = []
        corner = start
        while ring_of[corner] < 0:
            end = corner ^ 1
            ring += (corner, end)
            ring_of[corner] = ring_of[end] = len(rings)
            corner = vertical[end]
        rings.append(ring)
    return rings, np.array(ring_of)


def _enclosing_parts(corners: _Corners, first: np.ndarray, is_part: np.ndarray, ring_of: np.ndarray) -> list[int]:
    """For each ring the outer ring of its part, which is itself for an outer ring.

    The pixels above the first corner of a hole belong to the hole's part. The nearest vertical side to the left of them
    is one of the part's outer ring, or of another hole of it whose first corner lies above.
    """
    part_of = list(range(len(first)))
    holes = np.nonzero(~is_part)[0]
    if not len(holes):
        return part_of
    tops = np.nonzero(corners.goes_down)[0]
    bottoms = _vertical_partners(corners)[tops]
    lengths = corners.ys[bottoms] - corners.ys[tops]
    rows = np.repeat(corners.ys[tops], lengths) + ragged_arange(lengths)
    owners, xs, rings = (np.repeat(column[tops], lengths) for column in (corners.owners, corners.xs, ring_of))
    height, width = int(corners.ys.max()) + 1, int(corners.xs.max()) + 1
    keys = (owners * height + rows) * width + xs
    order = np.argsort(keys)
    begin = first[holes]
    above = (corners.owners[begin] * height + corners.ys[begin] - 1) * width + corners.xs[begin]
    nearest = rings[order[np.searchsorted(keys[order], above) - 1]]
    for hole, ring in zip(holes.tolist(), nearest.tolist(), strict=True):
        part_of[hole] = part_of[ring]
    return part_of


def _nearest_vertices(polygon: np.ndarray, ring: np.ndarray) -> tuple[int, int]:
    """Indices of the nearest vertices of two rings; of their beginnings if they are long."""
    ring = ring[:1024]
    squares = ((polygon[: MAX_PAIRS // len(ring), None] - ring[None]) ** 2).sum(2)
    here, there = np.unravel_index(int(squares.argmin()), squares.shape)
    return int(here), int(there)
