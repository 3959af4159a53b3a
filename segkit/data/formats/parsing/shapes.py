"""Shapes of annotation tools as polygons, and shapes of one group as one object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from segkit.data.formats.parsed import ObjectAnnotation
from segkit.data.formats.parsing.masks import decode_masks
from segkit.structures.masks import InstanceMasks
from segkit.utils.errors import SegkitError

MAX_DEVIATION = 0.02  # pixels between a circle and its polygon
MAX_CORNERS = 4096
Box = tuple[float, float, float, float]
Boxes = Literal["box", "mask"]


@dataclass
class Shape:
    """A shape that a user drew.

    Attributes:
        label: name of its class.
        box: XYXY, if it is a box.
        segmentation: polygons or an RLE dict, if it is none.
        group: shapes of one label and one group are one object; None: it is an object by itself.
    """

    label: str
    box: Box | None = None
    segmentation: list[list[float]] | dict[str, Any] | None = None
    group: int | str | None = None


def group_shapes(shapes: Sequence[Shape], size: tuple[int, int] | None, boxes: Boxes) -> list[ObjectAnnotation]:
    """The objects that shapes describe, in the order of their first shapes.

    Args:
        shapes: of one image.
        size: (H, W) of the image, needed to unite masks; None: unknown.
        boxes: whether a box is an object without a mask, or its own mask. Boxes that are grouped with other shapes are
            parts of the mask.
    Raises:
        SegkitError: masks are to be united and ``size`` is None.
    """
    groups: dict[object, list[Shape]] = {}
    for index, shape in enumerate(shapes):
        key = index if shape.group is None else (shape.label, shape.group)
        groups.setdefault(key, []).append(shape)
    return [_unite(group, size, boxes) for group in groups.values()]


def _unite(group: Sequence[Shape], size: tuple[int, int] | None, boxes: Boxes) -> ObjectAnnotation:
    label = group[0].label
    corners = [shape.box for shape in group if shape.box is not None]
    if len(corners) == len(group) and boxes == "box":
        low, high = np.array(corners)[:, :2].min(0).tolist(), np.array(corners)[:, 2:].max(0).tolist()
        return ObjectAnnotation(label, box=(low[0], low[1], high[0], high[1]))
    parts = [box_polygon(shape.box) if shape.box is not None else shape.segmentation for shape in group]
    lists = [part for part in parts if isinstance(part, list)]
    if len(lists) == len(parts):
        return ObjectAnnotation(label, segmentation=[polygon for part in lists for polygon in part])
    if len(parts) == 1:
        return ObjectAnnotation(label, segmentation=parts[0])
    if size is None:
        raise SegkitError(
            f"masks of the group {group[0].group} ({label}) cannot be united: the image's size is unknown"
        )
    union = decode_masks(parts, size).union()
    return ObjectAnnotation(label, segmentation=InstanceMasks.from_dense(union[None]).to_rle()[0])


def box_polygon(box: Box) -> list[list[float]]:
    """A box as polygons."""
    x0, y0, x1, y1 = box
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def ellipse_polygon(x: float, y: float, rx: float, ry: float, degrees: float = 0) -> list[list[float]]:
    """An ellipse as a polygon that deviates from it by at most 0.02 pixels.

    Args:
        x, y: of the centre.
        rx, ry: the radii along its axes.
        degrees: by which it is turned, clockwise on the screen.
    """
    radius = max(rx, ry, 1e-6)
    corners = math.ceil(math.pi / math.acos(max(0.0, 1 - MAX_DEVIATION / radius)))
    angle = np.arange(min(max(corners, 8), MAX_CORNERS)) / min(max(corners, 8), MAX_CORNERS) * 2 * math.pi
    points = np.stack([rx * np.cos(angle), ry * np.sin(angle)], 1)
    return [turned(points, degrees, x, y).reshape(-1).tolist()]


def turned(points: np.ndarray, degrees: float, x: float, y: float) -> np.ndarray:
    """Points [K, 2] around the origin, turned clockwise on the screen and moved to (x, y)."""
    angle = math.radians(degrees)
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return points @ matrix + [x, y]


def place_crop(crop: np.ndarray, left: int, top: int, size: tuple[int, int]) -> dict[str, Any] | None:
    """The RLE of a mask that is stored as a crop; None if no pixel is inside of the image.

    Args:
        crop: bool [h, w].
        left, top: its position in pixels; parts outside of the image are cut off.
        size: (H, W) of the image.
    """
    x0, y0 = max(0, left), max(0, top)
    inside = crop[y0 - top : max(0, size[0] - top), x0 - left : max(0, size[1] - left)]
    if not inside.any():
        return None
    masks = InstanceMasks.from_dense(torch.from_numpy(np.ascontiguousarray(inside))[None])
    return masks.placed(size, x0, y0).to_rle()[0]
