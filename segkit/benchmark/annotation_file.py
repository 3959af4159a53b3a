"""Writes a large synthetic COCO file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segkit.benchmark.scene import make_targets
from segkit.utils.images import write_image

PER_IMAGE = 100
SIZE = (256, 256)
CLASSES = 4
CORNERS = 40  # of a polygon
IMAGE_NAME = "image.png"


def write_annotations(file: Path, count: int, *, polygons: bool = False) -> None:
    """Writes a COCO JSON of ``count`` objects, PER_IMAGE in each image, and one image file.

    Args:
        file: path of the JSON.
        count: number of annotations.
        polygons: write polygons of CORNERS corners, about 650 bytes each; else compressed RLE, about 200.
    """
    masks = make_targets(PER_IMAGE, SIZE, CLASSES, torch.Generator().manual_seed(0), (16, 60)).masks
    assert masks is not None
    boxes, areas = masks.crop_boxes.tolist(), masks.areas().tolist()
    shapes: list[Any] = [outline(*box) for box in boxes] if polygons else masks.to_rle()
    objects = [
        json.dumps({"bbox": [x0, y0, x1 - x0, y1 - y0], "area": area, "iscrowd": 0, "segmentation": shape})[1:]
        for (x0, y0, x1, y1), area, shape in zip(boxes, areas, shapes, strict=True)
    ]
    write_image(file.parent / IMAGE_NAME, np.zeros((*SIZE, 3), dtype=np.uint8))
    entry = {"file_name": IMAGE_NAME, "height": SIZE[0], "width": SIZE[1]}
    images = [{"id": i, **entry} for i in range(-(-count // PER_IMAGE))]
    categories = [{"id": k + 1, "name": f"class{k + 1}"} for k in range(CLASSES)]
    with open(file, "w", encoding="utf-8") as stream:  # one annotation at a time: a million dicts would take gigabytes
        stream.write(f'{{"images": {json.dumps(images)}, "categories": {json.dumps(categories)}, "annotations": [')
        for i in range(count):
            head = f'{{"id": {i + 1}, "image_id": {i // PER_IMAGE}, "category_id": {i % CLASSES + 1}, '
            stream.write(("," if i else "") + head + objects[i % PER_IMAGE])
        stream.write("]}")


def outline(x0: int, y0: int, x1: int, y1: int) -> list[list[float]]:
    """The ellipse in a box as COCO polygons, rounded to hundredths of a pixel."""
    corners = []
    for i in range(CORNERS):
        angle = 2 * math.pi * i / CORNERS
        corners += [x0 + (x1 - x0) * (1 + math.cos(angle)) / 2, y0 + (y1 - y0) * (1 + math.sin(angle)) / 2]
    return [[round(corner, 2) for corner in corners]]
