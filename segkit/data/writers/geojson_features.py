"""Geometries, colours and class lists of GeoJSON as QuPath reads it."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segkit.structures.outline_polygons import Part
from segkit.utils.atomic import atomic_write

GOLDEN = 0.618033988749895  # turns hues so that neighbouring classes differ


def mask_geometry(parts: Sequence[Part]) -> dict[str, Any]:
    """The geometry of a mask's outlines.

    They follow the pixels' edges and hold the mask exactly.

    Args:
        parts: as :func:`segkit.structures.outline_polygons.mask_outlines` returns them, at least one.
    """
    return _geometry([[_closed(ring) for ring in (outer, *holes)] for outer, holes in parts])


def box_geometry(box: Sequence[float]) -> dict[str, Any]:
    """The rectangle of a box XYXY."""
    x0, y0, x1, y1 = box
    return _geometry([[_closed([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])]])


def write_classes(path: Path, classes: Sequence[str]) -> None:
    """Writes QuPath's ``classes.json``, with the colours of the classes."""
    listed = [{"name": name, "color": packed_color(class_color(i))} for i, name in enumerate(classes)]
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"pathClasses": listed}, indent=1), encoding="utf-8")


def _geometry(polygons: list[list[list[list[float]]]]) -> dict[str, Any]:
    """A Polygon, or a MultiPolygon of several."""
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _closed(ring: np.ndarray | list[list[float]]) -> list[list[float]]:
    """A ring that ends with its first point, as GeoJSON requires."""
    points = ring.tolist() if isinstance(ring, np.ndarray) else ring
    return [*points, points[0]]


def class_color(label: int) -> list[int]:
    """RGB of a class, 0 to 255; neighbouring labels have different hues."""
    return [round(255 * value) for value in colorsys.hsv_to_rgb(label * GOLDEN % 1, 0.8, 0.9)]


def packed_color(color: list[int]) -> int:
    """An RGB colour as the signed 32-bit number that QuPath's classes.json holds."""
    red, green, blue = color
    return (0xFF000000 | red << 16 | green << 8 | blue) - (1 << 32)
