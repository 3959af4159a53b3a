"""Parses YOLO's label files: one object a line, in parts of the image's size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from segkit.data.formats.parsed import ObjectAnnotation
from segkit.data.formats.parsing.lost_counter import LostCounter
from segkit.utils.errors import SegkitError

TOLERANCE = 0.01  # how far a coordinate may lie outside of 0..1, as Ultralytics allows; the image clips it
FEW_POINTS = "polygons of fewer than three points"
NOT_FINITE = "objects with a coordinate that is not finite"
NOT_NORMALISED = "objects with coordinates outside of 0..1"
NO_AREA = "boxes of no width or height"
HINTS = {NOT_NORMALISED: "YOLO's coordinates are parts of the image: divide x by its width and y by its height"}
MISTAKES = (NOT_NORMALISED, NOT_FINITE)


def parse_labels(
    text: str, name: str, classes: Mapping[int, str], lost: LostCounter
) -> tuple[list[ObjectAnnotation], int]:
    """The objects of a label file, with coordinates in 0..1; see :func:`in_pixels`.

    A line is ``class x y x y ...`` (a polygon), ``class cx cy w h`` (a box), or a box with a score, which is ignored.

    Args:
        text: of the file.
        name: the file in messages.
        classes: the name of each index.
        lost: counts the lines that are no objects.
    Returns:
        The objects, and how many lines have a score.
    Raises:
        SegkitError: a line that is not of this form, or a class without a name.
    """
    objects, scores = [], 0
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        place = f"{name}:{number}"
        try:
            index, *values = map(float, words)
        except ValueError:
            wrong = next(word for word in words if not is_number(word))
            raise SegkitError(f"{place}: '{wrong[:40]}' is not a number; expected class x y x y ...") from None
        category = classes.get(int(index)) if index.is_integer() else None
        if category is None:
            known = f"{min(classes)} to {max(classes)}" if classes else "none"
            raise SegkitError(f"{place}: the class {words[0][:40]} has no name; classes with names: {known}")
        if len(values) == 5:
            values.pop()
            scores += 1
        if len(values) % 2:
            raise SegkitError(
                f"{place}: has {len(values)} coordinates, an odd number; expected class x y x y ... (a polygon) or class "
                "cx cy w h (a box). Keypoints (pose) and polygons with a score are not labels of objects"
            )
        problem = _problem(values)
        if problem:
            lost.add(problem, place)
        else:
            objects.append(_object(category, values))
    return objects, scores


def in_pixels(annotation: ObjectAnnotation, size: tuple[int, int]) -> ObjectAnnotation:
    """An object of :func:`parse_labels` in the pixels of an image of ``size`` (H, W)."""
    height, width = size
    if annotation.box is not None:
        x0, y0, x1, y1 = annotation.box
        return replace(annotation, box=(x0 * width, y0 * height, x1 * width, y1 * height))
    assert isinstance(annotation.segmentation, list)
    polygon = annotation.segmentation[0]
    scaled = [value * (height if i % 2 else width) for i, value in enumerate(polygon)]
    return replace(annotation, segmentation=[scaled])


def is_number(word: str | bytes) -> bool:
    """Whether a word of a label file is a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _problem(values: list[float]) -> str | None:
    """Why the coordinates are no object; None if they are one."""
    if not all(map(math.isfinite, values)):
        return NOT_FINITE
    if len(values) < 4:
        return FEW_POINTS
    if min(values) < -TOLERANCE or max(values) > 1 + TOLERANCE:
        return NOT_NORMALISED
    return NO_AREA if len(values) == 4 and min(values[2:]) <= 0 else None


def _object(category: str, values: list[float]) -> ObjectAnnotation:
    if len(values) > 4:
        return ObjectAnnotation(category, segmentation=[values])
    x, y, width, height = values
    return ObjectAnnotation(category, box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2))
