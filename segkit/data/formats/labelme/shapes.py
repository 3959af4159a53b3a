"""Shapes of LabelMe's JSON files."""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from segkit.data.formats.parsing.json_values import all_finite, as_integer, shown
from segkit.data.formats.parsing.lost_counter import LostCounter
from segkit.data.formats.parsing.shapes import Shape, ellipse_polygon, place_crop
from segkit.utils.errors import SegkitError, did_you_mean

FEW_POINTS = "polygons of fewer than three points"
NO_AREA = "rectangles and circles of no width or height"
EMPTY = "masks without a pixel in their image"
NOT_OBJECTS = {"line": "lines", "linestrip": "line strips", "point": "points", "points": "points"}
POLYGONS = ("polygon", "oriented_rectangle")
KINDS = (*POLYGONS, "rectangle", "circle", "mask", *NOT_OBJECTS)
MAX_COORDINATE = 10**6
MAX_CROP = 1 << 26  # pixels of one mask


def read_shape(shape: Any, place: str, size: tuple[int, int] | None, lost: LostCounter) -> Shape | None:
    """A shape; None if it is no object, which is counted.

    Args:
        shape: an item of the list ``shapes``.
        place: file and index, for messages.
        size: (H, W) of the image, which only masks need.
        lost: counts shapes that are no objects.
    Raises:
        SegkitError: an unknown kind of shape, a missing label, or points that are no numbers.
    """
    if not isinstance(shape, dict):
        raise SegkitError(f"{place}: is {shown(shape)}; expected a mapping")
    label, kind = shape.get("label"), shape.get("shape_type") or "polygon"
    if not isinstance(label, str) or not label.strip():
        raise SegkitError(f"{place}: 'label' is {shown(label)}; expected the name of a class")
    if not isinstance(kind, str) or kind not in KINDS:
        raise SegkitError(f"{place}: 'shape_type' is {shown(kind)}{did_you_mean(str(kind)[:40], KINDS)}")
    points = _points(shape, place)
    if kind in NOT_OBJECTS:
        lost.add(NOT_OBJECTS[kind], place)
        return None
    found = _area(kind, points, shape, place, size)
    if isinstance(found, str):
        lost.add(found, place)
        return None
    found.label, found.group = label, _group(shape, place)
    return found


def _area(
    kind: str, points: np.ndarray, shape: Mapping[str, Any], place: str, size: tuple[int, int] | None
) -> Shape | str:
    """The shape of a kind that has an area, or why it is no object."""
    if kind in POLYGONS:
        return FEW_POINTS if len(points) < 3 else Shape("", segmentation=[points.reshape(-1).tolist()])
    if kind == "circle":
        if len(points) != 2:
            raise SegkitError(f"{place}: a circle has {len(points)} points; expected its centre and a point on it")
        radius = math.dist(*points.tolist())
        if radius == 0:
            return NO_AREA
        x, y = points[0].tolist()
        return Shape("", segmentation=ellipse_polygon(x, y, radius, radius))
    if len(points) < 2:
        raise SegkitError(f"{place}: a {kind} has {len(points)} points; expected two corners")
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    if kind == "rectangle":
        return NO_AREA if x1 <= x0 or y1 <= y0 else Shape("", box=(x0, y0, x1, y1))
    crop = _decode_crop(shape.get("mask"), place, (y1 - y0 + 1, x1 - x0 + 1))
    if size is None:
        raise SegkitError(f"{place}: the size of the image is unknown, which a mask needs")
    rle = place_crop(crop, int(x0), int(y0), size)
    return EMPTY if rle is None else Shape("", segmentation=rle)


def _points(shape: Mapping[str, Any], place: str) -> np.ndarray:
    """The points of a shape, float64 [K, 2]."""
    points = shape.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise SegkitError(f"{place}: 'points' is {shown(points)}; expected [[x, y], ...]")
    flat = [value for point in points for value in point]
    if not all_finite(flat) or any(abs(value) > MAX_COORDINATE for value in flat):
        raise SegkitError(f"{place}: 'points' is {shown(points)}; expected numbers of pixels")
    return np.array(flat, np.float64).reshape(-1, 2)


def _group(shape: Mapping[str, Any], place: str) -> int | None:
    """The group of a shape; None if it has none."""
    value = shape.get("group_id")
    if value is None:
        return None
    group = as_integer(value)
    if group is None:
        raise SegkitError(f"{place}: 'group_id' is {shown(value)}; expected a whole number or null")
    return group


def _decode_crop(text: Any, place: str, size: tuple[float, float]) -> np.ndarray:
    """The mask of a shape, bool [h, w], from an image in base64.

    It fills the box of its two corners, both inclusive.
    Tools round the corners of masks, so that the box may be larger or smaller by one pixel.
    """
    from PIL import Image

    if not isinstance(text, str):
        raise SegkitError(f"{place}: 'mask' is {shown(text)}; expected an image in base64")
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
            stated = (image.height, image.width)
            if abs(stated[0] - size[0]) > 1 or abs(stated[1] - size[1]) > 1 or stated[0] * stated[1] > MAX_CROP:
                raise SegkitError(
                    f"{place}: 'mask' is {stated[1]} x {stated[0]} pixels, but its points are the corners of "
                    f"{size[1]:g} x {size[0]:g}"
                )
            return np.asarray(image.convert("L") if image.mode not in ("1", "L", "I", "I;16") else image) > 0
    except SegkitError:
        raise
    except binascii.Error as error:
        raise SegkitError(f"{place}: 'mask' is not base64 ({error})") from error
    except Exception as error:  # Pillow raises errors of many types for damaged files
        raise SegkitError(f"{place}: 'mask' cannot be read as PNG ({' '.join(str(error).split())})") from error
