"""Shapes of CVAT's XML: boxes, polygons, masks and ellipses of one image."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from segkit.data.formats.parsing.lost_counter import LostCounter
from segkit.data.formats.parsing.shapes import Shape, ellipse_polygon, place_crop, turned
from segkit.utils.errors import SegkitError
from segkit.utils.xml_reader import Element

FEW_POINTS = "polygons of fewer than three points"
NO_AREA = "boxes and ellipses of no width or height"
EMPTY = "masks without a pixel in their image"
NOT_OBJECTS = {"polyline": "polylines", "points": "points", "cuboid": "cuboids", "skeleton": "skeletons"}
IGNORED = {"tag"}  # labels of whole images
MAX_SIDE = 10**6
MAX_CROP = 10**9  # pixels of one mask


def read_shapes(image: Element, name: str, size: tuple[int, int], lost: LostCounter) -> list[Shape]:
    """The shapes of an ``<image>``; those that are not areas are counted.

    Args:
        image: the element.
        name: the file in messages.
        size: (H, W) of the image.
        lost: counts shapes that are no objects.
    Raises:
        SegkitError: an unknown element, a missing attribute, or one that is not of its form.
    """
    shapes = []
    for element in image.children:
        if element.tag in IGNORED:
            continue
        place = f"{name}:{element.line}"
        if element.tag in NOT_OBJECTS:
            lost.add(NOT_OBJECTS[element.tag], place)
            continue
        if element.tag not in READERS:
            known = ", ".join([*READERS, *NOT_OBJECTS])
            raise SegkitError(f"{place}: unknown element <{element.tag[:40]}>; expected one of {known}")
        if "label" not in element.attributes:
            raise SegkitError(f"{place}: the <{element.tag}> has no label")
        shape = READERS[element.tag](element, place, size)
        if isinstance(shape, str):
            lost.add(shape, place)
            continue
        group = element.attributes.get("group_id", "0")
        shape.group = None if group in ("", "0") else group
        shapes.append(shape)
    return shapes


def number(element: Element, key: str, place: str, default: float | None = None) -> float:
    """The value of an attribute.

    Raises:
        SegkitError: it is missing and has no default, or is no number of pixels.
    """
    text = element.attributes.get(key)
    if text is None and default is not None:
        return default
    try:
        value = float(text if text is not None else "")
    except ValueError:
        value = math.nan
    if not abs(value) <= MAX_SIDE:
        shown = "missing" if text is None else f"'{text[:40]}'"
        raise SegkitError(f"{place}: '{key}' of the <{element.tag}> is {shown}; expected a number of pixels")
    return value


def whole_number(element: Element, key: str, place: str) -> int:
    """The value of an attribute that is a whole number; raises a SegkitError if it is not."""
    value = number(element, key, place)
    if value != int(value):
        raise SegkitError(f"{place}: '{key}' of the <{element.tag}> is {value}; expected a whole number of pixels")
    return int(value)


def _box(element: Element, place: str, size: tuple[int, int]) -> Shape | str:
    """A box; a turned one becomes the box around it."""
    x0, y0, x1, y1 = (number(element, key, place) for key in ("xtl", "ytl", "xbr", "ybr"))
    if x1 <= x0 or y1 <= y0:
        return NO_AREA
    rotation = number(element, "rotation", place, 0.0)
    if rotation:
        half = np.array([(x1 - x0) / 2, (y1 - y0) / 2])
        corners = turned(half * [[-1, -1], [1, -1], [1, 1], [-1, 1]], rotation, (x0 + x1) / 2, (y0 + y1) / 2)
        (x0, y0), (x1, y1) = corners.min(0).tolist(), corners.max(0).tolist()
    return Shape(element.attributes["label"], box=(x0, y0, x1, y1))


def _polygon(element: Element, place: str, size: tuple[int, int]) -> Shape | str:
    text = element.attributes.get("points", "")
    try:
        points = [float(value) for pair in text.split(";") if pair.strip() for value in _pair(pair)]
    except ValueError:
        raise SegkitError(f"{place}: 'points' of the <polygon> is '{text[:60]}'; expected x,y;x,y;...") from None
    if not all(abs(value) <= MAX_SIDE for value in points):
        raise SegkitError(f"{place}: 'points' of the <polygon> has a coordinate that is no number of pixels")
    return FEW_POINTS if len(points) < 6 else Shape(element.attributes["label"], segmentation=[points])


def _pair(text: str) -> list[str]:
    pair = text.split(",")
    if len(pair) != 2:
        raise ValueError(text)
    return pair


def _mask(element: Element, place: str, size: tuple[int, int]) -> Shape | str:
    """A mask: lengths of runs of 0 and 1 pixels, row by row in the box of the mask."""
    left, top, width, height = (whole_number(element, key, place) for key in ("left", "top", "width", "height"))
    text = element.attributes.get("rle", "")
    try:
        counts = np.array([int(value) for value in text.split(",") if value.strip()], np.int64)
    except (ValueError, OverflowError):
        raise SegkitError(f"{place}: 'rle' of the <mask> is '{text[:60]}'; expected whole numbers") from None
    if width < 1 or height < 1 or width > size[1] or height > size[0]:
        raise SegkitError(f"{place}: the <mask> is {width} x {height} pixels, its image {size[1]} x {size[0]}")
    total = sum(counts.tolist())
    if width * height > MAX_CROP or len(counts) == 0 or counts.min() < 0 or total != width * height:
        raise SegkitError(
            f"{place}: 'rle' of the <mask> adds up to {total} pixels; expected {width} x {height} = {width * height}"
        )
    crop = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
    rle = place_crop(crop, left, top, size)
    return EMPTY if rle is None else Shape(element.attributes["label"], segmentation=rle)


def _ellipse(element: Element, place: str, size: tuple[int, int]) -> Shape | str:
    x, y, rx, ry = (number(element, key, place) for key in ("cx", "cy", "rx", "ry"))
    if rx <= 0 or ry <= 0:
        return NO_AREA
    polygon = ellipse_polygon(x, y, rx, ry, number(element, "rotation", place, 0.0))
    return Shape(element.attributes["label"], segmentation=polygon)


READERS: dict[str, Callable[[Element, str, tuple[int, int]], Shape | str]] = {
    "box": _box,
    "polygon": _polygon,
    "mask": _mask,
    "ellipse": _ellipse,
}
