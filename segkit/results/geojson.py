"""Writes GeoJSON that QuPath opens."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from segkit.data.formats.geojson.features import BOX, CLASS_FILE
from segkit.data.writers.geojson import NAMESPACE
from segkit.data.writers.geojson_features import box_geometry, class_color, mask_geometry, write_classes
from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.part_files import PartFiles
from segkit.results.source_images import Losses
from segkit.structures.outline_polygons import Part, mask_outlines
from segkit.utils.whole_file import whole_file

EMPTY = "objects without a pixel, which are not written"


@RESULT_WRITER_REGISTRY.register(name="geojson")
class GeoJsonResultWriter(ResultWriter):
    """Writes ``geojson/STEM.geojson`` for each image, and QuPath's ``geojson/classes.json``.

    A feature is an object: its outline along the edges of its pixels, with holes and parts, so that it holds the mask
    exactly; its class; as name its id, which is that of label maps and tables; and as measurement its score. An object
    without a mask is the rectangle of its box. Coordinates are pixels of the image's file. Drag the file onto the image in
    QuPath, or use File, Import objects from file.

    Args:
        output, classes, category_ids, parts: as of every writer.
        object_type: QuPath's type of the objects: ``detection``, of which it shows very many, or ``annotation``, which can
            be edited.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        parts: PartFiles,
        *,
        object_type: Literal["detection", "annotation"] = "detection",
    ) -> None:
        super().__init__(output, classes, category_ids, parts)
        self.folder, self.object_type = self.output / "geojson", object_type
        self._losses = Losses(parts, "geojson")

    def files_of(self, stem: str) -> list[Path]:
        return [self.folder / f"{stem}.geojson"]

    def add(self, image: PredictedImage) -> None:
        losses: Counter[str] = Counter()
        features = list(self._features(image, losses))
        with whole_file(self.files_of(image.stem)[0]) as temporary:
            temporary.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
        self._losses.add(image, losses)

    def close(self) -> list[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_classes(self.folder / CLASS_FILE, self.classes)
        self._losses.report()
        return [self.folder]

    def _features(self, image: PredictedImage, losses: Counter[str]) -> Iterator[dict[str, Any]]:
        found, masks = image.detections, image.detections.masks
        outlines: Sequence[Sequence[Part] | None] = [None] * len(found) if masks is None else mask_outlines(masks)
        rows = zip(
            image.object_ids.tolist(),
            found.labels.tolist(),
            found.scores.tolist(),
            found.boxes.tolist(),
            outlines,
            strict=True,
        )
        for number, label, score, box, parts in rows:
            if parts is not None and not parts:
                losses[EMPTY] += 1
                continue
            properties: dict[str, Any] = {
                "objectType": self.object_type,
                "name": str(number),
                "classification": {"name": self.classes[label], "color": class_color(label)},
                "measurements": {"score": round(score, 6)},
            }
            if parts is None:
                properties["metadata"] = {BOX: "1"}
            yield {
                "type": "Feature",
                "id": str(uuid.uuid5(NAMESPACE, f"{image.name}/{number}")),
                "geometry": box_geometry(box) if parts is None else mask_geometry(parts),
                "properties": properties,
            }
