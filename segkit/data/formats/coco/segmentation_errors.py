"""Error messages for the invalid segmentations of a COCO JSON.

Called only for those, so that it may be slow.
"""

from __future__ import annotations

from typing import Any

from segkit.data.formats.parsing.json_values import all_finite, as_integer, shown

POLYGONS = "expected a list of polygons, each a flat list: [[x, y, x, y, ...], ...]"


def polygons_problem(value: Any) -> str:
    """Why a segmentation is not a list of polygons."""
    if isinstance(value, str):
        inside = "; it is JSON in a string: write the list itself, without quotes" if value[:1] in ("[", "{") else ""
        return f"'segmentation' is {shown(value)}; expected polygons or RLE{inside}"
    if not isinstance(value, list):
        return f"'segmentation' is {shown(value)}; expected polygons or RLE"
    if all_finite(value):
        return f"'segmentation' is a flat list of numbers, {shown(value)}: a polygon is {value[0]}; {POLYGONS}"
    if are_pairs(value):
        return f"'segmentation' is a list of x, y pairs, {shown(value)}; {POLYGONS}"
    for polygon in value:
        if isinstance(polygon, list) and len(polygon) % 2 == 0 and all_finite(polygon):
            continue
        if isinstance(polygon, list) and are_pairs(polygon):
            return f"a polygon is a list of x, y pairs, {shown(polygon)}; {POLYGONS}"
        if (isinstance(polygon, list) and polygon and all(isinstance(p, dict) for p in polygon)) or _is_point(polygon):
            return f"a polygon's points are mappings, {shown(polygon)}; {POLYGONS}"
        if isinstance(polygon, list) and polygon and all(isinstance(part, list) for part in polygon):
            return f"a polygon is {shown(polygon)}, a list of lists: one pair of brackets too many; {POLYGONS}"
        if isinstance(polygon, dict):
            return (
                f"a polygon is {shown(polygon)}; expected a flat list x, y, x, y, ..., or one RLE that is not in a list"
            )
        if isinstance(polygon, list) and all_finite(polygon):
            return f"a polygon is {shown(polygon)}, {len(polygon)} numbers; expected an even number, x, y, x, y, ..."
        return f"a polygon is {shown(polygon)}; expected a flat list of finite numbers, x, y, x, y, ..."
    raise AssertionError(value)


def are_pairs(value: list) -> bool:
    """Whether a segmentation is a list of points [x, y], which a list of polygons cannot be."""
    return len(value) > 1 and all(isinstance(p, list) and len(p) == 2 and not isinstance(p[0], list) for p in value)


def _is_point(value: Any) -> bool:
    """Whether a value is a mapping with the keys x and y."""
    return isinstance(value, dict) and {str(key).lower() for key in value} >= {"x", "y"}


def size_problem(rle: dict) -> str:
    """Why an RLE's size is invalid."""
    if "size" not in rle:
        keys = ", ".join(f"'{key}'" for key in rle) or "no keys"
        return f"the segmentation is a mapping with {keys}; expected an RLE with 'size', [height, width], and 'counts'"
    return f"the RLE's size is {shown(rle['size'])}; expected the image's [height, width], two whole numbers"


def counts_problem(counts: Any, height: int, width: int) -> str | None:
    """Why uncompressed counts are not an RLE of height x width pixels; None if they are one."""
    if not isinstance(counts, list):
        return f"the RLE's 'counts' is {shown(counts)}; expected a string or a list"
    if {*map(type, counts)} <= {int} and min(counts, default=0) >= 0 and sum(counts) == height * width:
        return None  # the usual case, checked fast
    if all(isinstance(count, list) for count in counts) and counts:
        return f"the RLE's counts are a list of lists, {shown(counts)}; expected one flat list of whole numbers"
    for i, count in enumerate(counts):
        length = as_integer(count)
        if length is None:
            return f"the RLE's counts[{i}] is {shown(count)}; expected a whole number"
        if length < 0:
            return f"the RLE's counts[{i}] is {length}; expected 0 or more"
    total = sum(map(int, counts))
    if total != height * width:
        return f"the RLE's counts add up to {total} pixels; {height} x {width} pixels are {height * width}"
    return None


def string_problem(string: bytes, total: int, height: int, width: int) -> str:
    """Why a compressed RLE is invalid.

    Args:
        string: its counts.
        total: number of pixels that they cover; -1 if they cannot be decoded.
        height, width: the RLE's size.
    """
    text = string.decode("utf-8", "replace")
    if text[:2] in ("b'", 'b"') and text[-1:] == text[1]:
        return (
            f"the RLE's counts are bytes printed as text, {shown(text)}; write counts.decode() in place of str(counts)"
        )
    if total < 0:
        return f"the RLE's counts are invalid: {shown(text)} is not a compressed RLE"
    return f"the RLE's counts are invalid: they cover {total} pixels; {height} x {width} pixels are {height * width}"
