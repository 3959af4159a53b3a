"""Writes predictions as one COCO data set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from segkit.evaluation.results import coco_results
from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.part_files import PartFiles
from segkit.utils.atomic import atomic_write

IMAGES, ANNOTATIONS = "coco_images", "coco_annotations"


@RESULT_WRITER_REGISTRY.register(name="coco")
class CocoResultWriter(ResultWriter):
    """Writes ``predictions.json``: images, categories, and annotations with scores.

    Unlike a list of COCO results, the file names its images and not only their ids.

    Args:
        output, classes, category_ids, parts: as of every writer.
        image_ids: ids of known images, by name; other images get the next free ids.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        parts: PartFiles,
        image_ids: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(output, classes, category_ids, parts)
        self.image_ids = dict(image_ids or {})
        self.path = self.output / "predictions.json"

    def add(self, image: PredictedImage) -> None:
        found = image.detections
        masks = found.masks  # pasted here, once, for both areas and encoding
        areas = None if masks is None else masks.areas().tolist()
        results = coco_results(found, 0, self.category_ids)
        for i, result in enumerate(results):
            del result["image_id"]
            result["iscrowd"] = 0
            result["area"] = float(areas[i]) if areas is not None else result["bbox"][2] * result["bbox"][3]
            if image.track_ids is not None:
                result["track_id"] = int(image.track_ids[i])
        height, width = image.size
        entry: dict[str, Any] = {"file_name": image.name, "height": height, "width": width}
        if image.series is not None:
            entry |= {"series": image.series, "frame": image.frame}
        self.parts.append(IMAGES, json.dumps(entry))
        self.parts.append(ANNOTATIONS, json.dumps(results))

    def close(self) -> list[Path]:
        categories = [{"id": k, "name": name} for k, name in zip(self.category_ids, self.classes, strict=True)]
        with atomic_write(self.path) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            stream.write('{"images": [')
            _write_entries(stream, self._images())
            stream.write(f'], "categories": {json.dumps(categories)}, "annotations": [')
            _write_entries(stream, self._annotations())
            stream.write("]}")
        return [self.path]

    def _images(self) -> Iterable[dict[str, Any]]:
        for image_id, line in zip(self._ids(), self.parts.lines(IMAGES), strict=True):
            yield {"id": image_id, **json.loads(line)}

    def _annotations(self) -> Iterable[dict[str, Any]]:
        count = 0
        for image_id, line in zip(self._ids(), self.parts.lines(ANNOTATIONS), strict=True):
            for result in json.loads(line):
                count += 1
                yield {"id": count, "image_id": image_id, **result}

    def _ids(self) -> Iterable[int]:
        """The id of each image, in order."""
        free = max(self.image_ids.values(), default=0)
        for line in self.parts.lines(IMAGES):
            known = self.image_ids.get(json.loads(line)["file_name"])
            free += known is None
            yield free if known is None else known


def _write_entries(stream: TextIO, entries: Iterable[dict[str, Any]]) -> None:
    for i, entry in enumerate(entries):
        stream.write((", " if i else "") + json.dumps(entry))
