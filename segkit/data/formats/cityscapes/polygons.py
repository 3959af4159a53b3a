"""Draws the polygons of a Cityscapes image as its instance PNG has them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from segkit.data.formats.cityscapes.labels import GROUP, IDS, INSTANCE_CLASSES, PER_CLASS
from segkit.data.formats.id_map import check_size
from segkit.data.formats.parsing.json_values import all_finite, as_integer, shown
from segkit.utils.errors import SegkitError, did_you_mean

MAX_FILE = 64 << 20  # bytes; the largest of Cityscapes' has 0.5 MB
MAX_COORDINATE = 1e6
MAX_ROWS = 20_000_000  # that all edges together cross


def draw_instance_ids(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The instance ids of an image from its ``*_polygons.json``, as int32 [H, W].

    Args:
        path: the file.
        size: (H, W) of the image.
    Raises:
        SegkitError: the file is not such a JSON, states another size, or has a label that Cityscapes does not have.
    """
    content = _read(path)
    height, width = as_integer(content.get("imgHeight")), as_integer(content.get("imgWidth"))
    objects = content.get("objects")
    if height is None or width is None or not isinstance(objects, list):
        raise SegkitError(f"{path}: expected a mapping with imgHeight, imgWidth and the list objects")
    check_size(path, size, (height, width), "the file's imgHeight and imgWidth")
    image = Image.new("I", (size[1], size[0]), 0)
    draw = ImageDraw.Draw(image)
    used: dict[str, int] = {}
    rows = 0.0
    for index, item in enumerate(objects):
        where = f"{path}: objects[{index}]"
        if not isinstance(item, dict) or not isinstance(item.get("label"), str):
            raise SegkitError(f"{where} is {shown(item)}; expected a mapping with 'label' and 'polygon'")
        if item.get("deleted"):
            continue
        value = _value(item["label"], used, where)
        points = _points(item.get("polygon"), where)
        rows += sum(abs(a[1] - b[1]) for a, b in pairwise(points))
        if rows > MAX_ROWS:
            raise SegkitError(f"{where}: the outlines are too long to be drawn")
        if value >= 0:
            draw.polygon(points, fill=value)
    return np.array(image, np.int32)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE:
            raise SegkitError(f"{path}: has {path.stat().st_size} bytes; at most {MAX_FILE} are read")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, SegkitError):
            raise
        reason = "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise SegkitError(f"{path}: cannot be read as JSON ({reason:.200})") from error
    if not isinstance(content, dict):
        raise SegkitError(f"{path}: is {shown(content)}; expected a mapping with imgHeight, imgWidth and objects")
    return content


def _value(label: str, used: dict[str, int], where: str) -> int:
    """The number of the next object of a label: the class's for groups and classes without instances."""
    name = label
    is_group = label not in IDS and label.endswith(GROUP)
    if is_group:
        name = label.removesuffix(GROUP)
    if name not in IDS:
        raise SegkitError(f"{where}: the label '{label:.60}' is not one of Cityscapes'{did_you_mean(name[:60], IDS)}")
    if is_group or name not in INSTANCE_CLASSES:
        return IDS[name]
    index = used.get(name, 0)
    if index >= PER_CLASS:
        raise SegkitError(f"{where}: has more than {PER_CLASS} objects of the class {name}")
    used[name] = index + 1
    return IDS[name] * PER_CLASS + index


def _points(polygon: Any, where: str) -> list[tuple[float, float]]:
    if not isinstance(polygon, list) or len(polygon) < 2:
        raise SegkitError(f"{where}: 'polygon' is {shown(polygon)}; expected a list of points [x, y]")
    points = []
    for point in polygon:
        if (
            not isinstance(point, list)
            or len(point) != 2
            or not all_finite(point)
            or max(map(abs, point)) > MAX_COORDINATE
        ):
            raise SegkitError(
                f"{where}: {shown(point)} is no point [x, y] of finite coordinates up to {MAX_COORDINATE:g}"
            )
        points.append((point[0], point[1]))
    return points
