"""Writes images and their COCO file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from segkit.benchmark.options import Options
from segkit.benchmark.scene import make_samples
from segkit.utils.images import write_image

CLASSES = 4
JSON_NAME = "annotations.json"


def prepare(options: Options, folder: Path) -> None:
    """Writes images and a COCO JSON with compressed RLE."""
    assert options.batch and options.objects and options.size
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for sample in make_samples(options.batch, options.objects, options.size, CLASSES, sides=options.object_sides):
        write_image(folder / sample.file_name, sample.image.permute(1, 2, 0).numpy())
        entry = {"id": sample.image_id, "file_name": sample.file_name}
        images.append({**entry, "height": sample.size[0], "width": sample.size[1]})
        masks = sample.targets.masks
        assert masks is not None
        rows = zip(masks.boxes().tolist(), masks.areas().tolist(), masks.to_rle(), sample.targets.labels, strict=True)
        annotations += [
            {
                "id": len(annotations) + number,
                "image_id": sample.image_id,
                "category_id": int(label) + 1,
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "area": area,
                "iscrowd": 0,
                "segmentation": rle,
            }
            for number, (box, area, rle, label) in enumerate(rows, start=1)
        ]
    categories = [{"id": k + 1, "name": f"class{k + 1}"} for k in range(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / JSON_NAME).write_text(json.dumps(content), encoding="utf-8")
