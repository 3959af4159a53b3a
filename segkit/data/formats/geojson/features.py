"""Objects of a GeoJSON file as QuPath exports it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from segkit.data.formats.parsed import ObjectAnnotation
from segkit.data.formats.parsing.json_stream import stream_list
from segkit.data.formats.parsing.json_values import all_finite, shown
from segkit.data.formats.parsing.lost_counter import LostCounter
from segkit.utils.errors import SegkitError, did_you_mean

Outline = Literal["cell", "nucleus"]
Ring = list[float]
OBJECT_TYPES = {
    "annotation": "annotation", "detection": "detection", "cell": "cell", "tile": "tile", "tma_core": "tma_core",
    "pathannotationobject": "annotation", "pathdetectionobject": "detection", "pathcellobject": "cell",
    "pathtileobject": "tile", "tmacoreobject": "tma_core", "pathrootobject": "root", "root": "root",
}  # fmt: skip
LINES, POINTS = ("LineString", "MultiLineString"), ("Point", "MultiPoint")
CLASS_FILE = "classes.json"  # QuPath's list of a project's classes
NO_AREA = "outlines of fewer than three points"
CROWD, IGNORE, BOX = "iscrowd", "ignore", "box"  # keys of QuPath's metadata that segkit's writer sets to "1"


@dataclass
class PartsAnnotation(ObjectAnnotation):
    """An object of several polygons with holes, in which others may lie.

    Attributes:
        parts: outer ring and holes of each polygon. ``segmentation`` has all outer rings and ``holes`` all holes; their
            difference lacks the parts that lie in holes.
    """

    parts: list[tuple[Ring, list[Ring]]] = field(default_factory=list)


class FeatureReader:
    """Reads the objects of GeoJSON files, and counts what is skipped.

    Args:
        class_name: class of objects without a classification.
        object_types: QuPath's types to read, as ``cell``; None: all.
        cell_outline: which outline of a cell is read.
    Attributes:
        lost: counts the objects that have no area.
        types, skipped_types: number of the objects read, and of those that ``object_types`` excludes, by type.
    """

    def __init__(self, class_name: str, object_types: list[str] | None, cell_outline: Outline) -> None:
        for name in object_types or []:
            if name not in OBJECT_TYPES.values():
                raise SegkitError(
                    f"object_types: QuPath has no type '{name}'{did_you_mean(name, set(OBJECT_TYPES.values()))}",
                    key="object_types",
                    value=name,
                )
        self.class_name, self.object_types, self.cell_outline = class_name, object_types, cell_outline
        self.types: Counter[str] = Counter()
        self.skipped_types: Counter[str] = Counter()
        self.lost = LostCounter()

    def read(self, file: Path) -> list[ObjectAnnotation]:
        """The objects of a FeatureCollection or a list of Features, ``.gz`` or not.

        Raises:
            SegkitError: the file is not GeoJSON.
        """
        objects: list[ObjectAnnotation] = []
        try:
            for index, feature in enumerate(stream_list(file, "features")):
                where = f"{file}: features[{index}]"
                if not isinstance(feature, dict) or feature.get("type") != "Feature":
                    raise SegkitError(f"{where} is {shown(feature)}; expected a mapping of the type 'Feature'")
                objects += self._objects(feature, where)
        except LookupError:
            raise SegkitError(
                f"{file}: is not GeoJSON; expected a FeatureCollection, or a list of Features", value=str(file)
            ) from None
        return objects

    def notes(self) -> list[str]:
        """Sentences about the types of the objects."""
        notes = []
        if len(self.types) > 1:
            shown_types = ", ".join(f"{count:,} {kind}s" for kind, count in self.types.most_common())
            notes.append(f"objects of several types are read: {shown_types}; object_types selects some of them")
        if self.skipped_types:
            skipped = ", ".join(f"{count:,} {kind}s" for kind, count in self.skipped_types.most_common())
            notes.append(f"skipped, because object_types does not name them: {skipped}")
        return notes

    def _objects(self, feature: dict[str, Any], where: str) -> Iterator[ObjectAnnotation]:
        properties = feature.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        given = properties.get("objectType") or properties.get("object_type") or feature.get("id")
        kind = OBJECT_TYPES.get(str(given).lower(), "annotation")
        if kind == "root":
            return
        if self.object_types is not None and kind not in self.object_types:
            self.skipped_types[kind] += 1
            return
        self.types[kind] += 1
        geometry = feature.get("geometry")
        if kind == "cell" and self.cell_outline == "nucleus":
            geometry = feature.get("nucleusGeometry") or properties.get("nucleusGeometry")
            if geometry is None:
                self.lost.add("cells without an outline of the nucleus", where)
                return
        if geometry is None:
            self.lost.add("objects without a geometry", where)
            return
        if not isinstance(geometry, dict):
            raise SegkitError(f"{where}: 'geometry' is {shown(geometry)}; expected a mapping")
        polygons = self._polygons(geometry, where)
        if polygons:
            yield _annotation(polygons, self._class(properties, where), properties.get("metadata"))

    def _class(self, properties: dict[str, Any], where: str) -> str:
        """The class name: QuPath's derived classes are joined by colons."""
        found = properties.get("classification")
        if isinstance(found, dict):
            names = found.get("names")
            found = found.get("name") or (": ".join(map(str, names)) if isinstance(names, list) and names else None)
        if found is None:
            return self.class_name
        if not isinstance(found, str) or not found.strip():
            raise SegkitError(f"{where}: the classification is {shown(found)}; expected the name of a class")
        return found

    def _polygons(self, geometry: dict[str, Any], where: str) -> list[list[Ring]]:
        """The polygons of a geometry, each as its rings without their closing points."""
        kind, coordinates = geometry.get("type"), geometry.get("coordinates")
        if kind in POINTS or kind in LINES:
            self.lost.add("points" if kind in POINTS else "lines", where)
            return []
        if kind not in ("Polygon", "MultiPolygon"):
            valid = ("Polygon", "MultiPolygon", *LINES, *POINTS)
            raise SegkitError(
                f"{where}: the geometry is of the type {shown(kind)}{did_you_mean(str(kind)[:40], valid)}",
                value=kind,
                choices=valid,
            )
        polygons = coordinates if kind == "MultiPolygon" else [coordinates]
        if not isinstance(polygons, list) or not all(isinstance(polygon, list) for polygon in polygons):
            raise SegkitError(f"{where}: 'coordinates' are {shown(coordinates)}; expected lists of rings")
        read = [[_ring(ring, where) for ring in polygon] for polygon in polygons]
        kept = [[ring for ring in polygon if len(ring) >= 6] for polygon in read if polygon and len(polygon[0]) >= 6]
        if not kept:
            self.lost.add(NO_AREA, where)
        return kept


def _annotation(polygons: list[list[Ring]], name: str, metadata: Any) -> ObjectAnnotation:
    """An object of polygons with holes; segkit's writer marks crowds, ignore regions and boxes in the metadata."""
    marks = metadata if isinstance(metadata, dict) else {}
    ignored = marks.get(IGNORE) == "1"
    category = None if ignored else name
    crowd = ignored or marks.get(CROWD) == "1"
    outer, holes = [polygon[0] for polygon in polygons], [hole for polygon in polygons for hole in polygon[1:]]
    if marks.get(BOX) == "1" and len(polygons) == 1 and not holes:
        x, y = outer[0][0::2], outer[0][1::2]
        return ObjectAnnotation(category, (min(x), min(y), max(x), max(y)), crowd=crowd)
    if holes and len(polygons) > 1:
        parts = [(polygon[0], polygon[1:]) for polygon in polygons]
        return PartsAnnotation(category, segmentation=outer, holes=holes, crowd=crowd, parts=parts)
    return ObjectAnnotation(category, segmentation=outer, holes=holes, crowd=crowd)


def _ring(points: Any, where: str) -> Ring:
    """A ring as x0, y0, x1, y1, ... without its closing point."""
    if not isinstance(points, list):
        raise SegkitError(f"{where}: a ring is {shown(points)}; expected a list of points")
    flat: Ring = []
    for point in points:
        if not isinstance(point, list) or len(point) < 2 or not all_finite(point[:2]):
            raise SegkitError(f"{where}: {shown(point)} is no point [x, y] of finite numbers")
        flat += point[:2]
    return flat[:-2] if len(flat) > 2 and flat[:2] == flat[-2:] else flat
