"""Writes GeoJSON that QuPath reads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from segkit.data.formats.class_names import default_category_ids
from segkit.data.formats.geojson.features import BOX, CLASS_FILE, CROWD, IGNORE
from segkit.data.writers.base import DatasetWriter, WritableImage
from segkit.data.writers.geojson_features import box_geometry, class_color, mask_geometry, write_classes
from segkit.data.writers.image_names import ImageNames, split_root
from segkit.data.writers.label_maps import RENUMBERED
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.outline_polygons import mask_outlines
from segkit.structures.targets import ALL_CLASSES

NAMESPACE = uuid.UUID("2f1c9a54-9a0e-5d0e-8a38-6c8a1f6d7a10")  # of the ids of written objects
IGNORED_CLASS = "Ignore*"  # QuPath's class for regions that are not measured


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
        write_classes(self.output / CLASS_FILE, self.classes)

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
                geometry = mask_geometry(parts)
            else:
                geometry, marks = box_geometry(box), {**marks, BOX: "1"}
            kind = (
                {"name": IGNORED_CLASS}
                if label == ALL_CLASSES
                else {"name": self.classes[label], "color": class_color(label)}
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
