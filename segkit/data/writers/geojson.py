"""Writes GeoJSON that QuPath reads."""

from __future__ import annotations

import colorsys
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segkit.data.formats.class_names import default_category_ids
from segkit.data.formats.geojson.features import BOX, CLASS_FILE, CROWD, IGNORE
from segkit.data.writers.base import DatasetWriter, WritableImage
from segkit.data.writers.image_names import ImageNames, split_root
from segkit.data.writers.label_maps import RENUMBERED
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.outline_polygons import mask_outlines
from segkit.structures.targets import ALL_CLASSES

NAMESPACE = uuid.UUID("2f1c9a54-9a0e-5d0e-8a38-6c8a1f6d7a10")  # of the ids of written objects
IGNORED_CLASS = "Ignore*"  # QuPath's class for regions that are not measured
GOLDEN = 0.618033988749895  # turns hues so that neighbouring classes differ


@DATASET_WRITER_REGISTRY.register(name="geojson")
class GeoJsonWriter(DatasetWriter):
    """Writes ``images/NAME.*``, ``annotations/NAME.geojson`` and QuPath's ``classes.json``.

    The outlines follow the pixels' edges, with their holes and parts, so that they hold each mask exactly. Crowd regions,
    ignore regions and boxes without a mask are marked in the objects' metadata. Ids are UUIDs that depend on the image's
    name and the object's position only.

    Args:
        output: the folder to write to.
        classes: name of each label.
        category_ids: the id of each label; the format holds no ids.
        object_type: QuPath's type of the objects: ``annotation`` or ``detection``, of which QuPath shows many faster.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        *,
        object_type: Literal["annotation", "detection"] = "annotation",
    ) -> None:
        super().__init__(output, classes, category_ids)
        self.object_type = object_type
        self._names = ImageNames()
        if self.category_ids != default_category_ids(self.classes):
            self.losses[RENUMBERED] += len(self.classes)

    def write(self, image: WritableImage) -> None:
        root, stem = split_root(self.output, image.split), self._names.stem(image)
        self.save_image(image, root / "images" / f"{stem}.png")
        features = list(self._features(image, f"{image.split}/{stem}"))
        path = root / "annotations" / f"{stem}.geojson"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")

    def close(self) -> None:
        classes = [{"name": name, "color": _packed(_color(i))} for i, name in enumerate(self.classes)]
        (self.output / CLASS_FILE).write_text(json.dumps({"pathClasses": classes}, indent=1), encoding="utf-8")

    def _features(self, image: WritableImage, name: str) -> Iterator[dict[str, Any]]:
        targets = image.targets
        outlines = iter(mask_outlines(targets.masks[targets.has_mask])) if targets.masks is not None else iter(())
        rows = zip(
            targets.labels.tolist(),
            targets.crowd.tolist(),
            targets.has_mask.tolist(),
            targets.boxes.tolist(),
            strict=True,
        )
        for index, (label, crowd, has_mask, box) in enumerate(rows):
            marks = {CROWD: "1"} if crowd and label != ALL_CLASSES else {}
            marks |= {IGNORE: "1"} if label == ALL_CLASSES else {}
            if has_mask:
                parts = next(outlines)
                if not parts:
                    self.losses["objects with an empty mask, which are not written"] += 1
                    continue
                geometry = _geometry([[_closed(ring) for ring in (outer, *holes)] for outer, holes in parts])
            else:
                x0, y0, x1, y1 = box
                geometry, marks = _geometry([[_closed([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])]]), {**marks, BOX: "1"}
            kind = (
                {"name": IGNORED_CLASS}
                if label == ALL_CLASSES
                else {"name": self.classes[label], "color": _color(label)}
            )
            properties: dict[str, Any] = {"objectType": self.object_type, "classification": kind}
            if marks:
                properties["metadata"] = marks
            yield {
                "type": "Feature",
                "id": str(uuid.uuid5(NAMESPACE, f"{name}/{index}")),
                "geometry": geometry,
                "properties": properties,
            }


def _geometry(polygons: list[list[list[list[float]]]]) -> dict[str, Any]:
    """A Polygon, or a MultiPolygon of several."""
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _closed(ring: np.ndarray | list[list[float]]) -> list[list[float]]:
    """A ring that ends with its first point, as GeoJSON requires."""
    points = ring.tolist() if isinstance(ring, np.ndarray) else ring
    return [*points, points[0]]


def _color(label: int) -> list[int]:
    """RGB of a class, 0 to 255; neighbouring labels have different hues."""
    return [round(255 * value) for value in colorsys.hsv_to_rgb(label * GOLDEN % 1, 0.8, 0.9)]


def _packed(color: list[int]) -> int:
    """An RGB colour as the signed 32-bit number that QuPath's classes.json holds."""
    red, green, blue = color
    return (0xFF000000 | red << 16 | green << 8 | blue) - (1 << 32)
