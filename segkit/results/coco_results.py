"""Writes predictions as a list of COCO results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from segkit.evaluation.results import coco_results
from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.part_files import PartFiles
from segkit.utils.atomic import atomic_write

LINES = "coco_results"


@RESULT_WRITER_REGISTRY.register(name="coco_results")
class CocoResultsWriter(ResultWriter):
    """Writes ``coco_results.json``, the list that ``COCO.loadRes`` of pycocotools reads.

    Image ids are those of the id map; other images get the next free ids. ``coco_images.json`` lists all of them.

    Args:
        output, classes, category_ids, parts: as of every writer.
        image_ids: ids of known images, by name.
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

    def add(self, image: PredictedImage) -> None:
        results = coco_results(image.detections, 0, self.category_ids)
        self.parts.append(LINES, json.dumps([image.name, *image.size, results]))

    def close(self) -> list[Path]:
        paths = [self.output / "coco_results.json", self.output / "coco_images.json"]
        free, first = max(self.image_ids.values(), default=0), True
        with (
            atomic_write(paths[0]) as results_file,
            atomic_write(paths[1]) as images_file,
            open(results_file, "w", encoding="utf-8") as results,
            open(images_file, "w", encoding="utf-8") as images,
        ):
            results.write("[")
            images.write("[")
            for i, line in enumerate(self.parts.lines(LINES)):
                name, height, width, found = json.loads(line)
                known = self.image_ids.get(name)
                free += known is None
                image_id = free if known is None else known
                entry = {"id": image_id, "file_name": name, "height": height, "width": width}
                images.write((",\n" if i else "") + json.dumps(entry))
                for result in found:
                    results.write(("" if first else ",\n") + json.dumps(result | {"image_id": image_id}))
                    first = False
            results.write("]")
            images.write("]")
        return paths
