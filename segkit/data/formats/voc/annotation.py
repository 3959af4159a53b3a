"""Parses one annotation file of PASCAL VOC."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from segkit.data.formats.parsing.lost_counter import LostCounter
from segkit.utils.errors import SegkitError
from segkit.utils.xml_reader import Element, read_xml

NO_AREA = "boxes of no width or height"
NO_BOX = "objects without a bndbox"
CORNERS = ("xmin", "ymin", "xmax", "ymax")
MAX_SIDE = 10**6


@dataclass
class VocObject:
    """An object: its class, its XYXY box in pixels, and whether it is difficult."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclass
class VocFile:
    """The content of an annotation file.

    Attributes:
        size: (H, W) as stated; None: not stated, or 0 as some tools write.
        objects: those with a box.
    """

    size: tuple[int, int] | None
    objects: list[VocObject]


def read_voc_file(path: Path, name: str, first_pixel: int, lost: LostCounter) -> VocFile:
    """Reads an annotation file.

    VOC counts pixels from 1 and both corners belong to the box: ``xmin`` 1 and ``xmax`` 10 are the 10 pixels 0..9, the box
    from 0 to 10 here. ``part`` elements inside of an object (head, hand, foot) are not objects.

    Args:
        path: of the file.
        name: the file in messages.
        first_pixel: the coordinate of the first pixel in the file, 1 or 0.
        lost: counts objects without a valid box.
    Raises:
        SegkitError: not such a file; an object without a name, or with coordinates that are not numbers.
    """
    root = read_xml(path, "annotation", name)
    objects = []
    for element in root.all("object"):
        place = f"{name}:{element.line}"
        label = element.find_text("name")
        if label is None:
            raise SegkitError(f"{place}: the object has no <name>")
        bndbox = element.find("bndbox")
        if bndbox is None:
            lost.add(NO_BOX, place)
            continue
        xmin, ymin, xmax, ymax = (_number(bndbox, corner, name) for corner in CORNERS)
        box = (xmin - first_pixel, ymin - first_pixel, xmax - first_pixel + 1, ymax - first_pixel + 1)
        if xmax < xmin or ymax < ymin:
            lost.add(NO_AREA, place)
            continue
        objects.append(VocObject(label, box, element.find_text("difficult") in ("1", "true", "True")))
    return VocFile(_size(root, name), objects)


def _number(bndbox: Element, corner: str, name: str) -> float:
    """The value of a corner; VOC's files and others also have decimals."""
    text = bndbox.find_text(corner)
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not abs(value) <= MAX_SIDE:
        shown = f"'{text[:40]}'" if text else "missing"
        raise SegkitError(f"{name}:{bndbox.line}: <{corner}> is {shown}; expected a number of pixels")
    return value


def _size(root: Element, name: str) -> tuple[int, int] | None:
    """(H, W) of ``<size>``; None if it is not stated or 0."""
    height, width = root.find_text("size", "height"), root.find_text("size", "width")
    if height is None or width is None:
        return None
    try:
        size = (int(height), int(width))
    except ValueError:
        size = (-1, -1)
    if not all(0 <= side <= MAX_SIDE for side in size):
        raise SegkitError(f"{name}: <size> is {width[:20]} x {height[:20]}; expected two numbers of pixels")
    return size if all(size) else None
