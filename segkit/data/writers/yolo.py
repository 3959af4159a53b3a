"""Writes YOLO data sets: images, label files of polygons and boxes, data.yaml."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from segkit.config.yaml_reader import write_yaml
from segkit.data.writers.base import DatasetWriter, WritableImage
from segkit.data.writers.image_names import ImagePaths
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.outline_polygons import Part, even_odd_polygon, mask_outlines
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.whole_file import whole_file

IGNORED = "ignore regions, which YOLO cannot hold"
CROWDS = "crowd regions, which YOLO cannot hold"
EMPTY = "objects without a pixel"
HOLES = "objects whose holes are filled"
PARTS = "objects reduced to their largest part"
MIXED = "boxes in a file with polygons, which Ultralytics takes for polygons of two points"


@DATASET_WRITER_REGISTRY.register(name="yolo")
class YoloWriter(DatasetWriter):
    """Writes ``images/SPLIT``, ``labels/SPLIT`` and ``data.yaml``.

    A mask becomes the polygon along the edges of its pixels, which pycocotools and segkit rasterise to the same mask, bit
    for bit. YOLO has one polygon an object. Holes and further parts are joined to it by bridges of no width, which the
    rule of even and odd crossings does not fill; tools that draw outlines (OpenCV) draw the bridges, one pixel wide. An
    object without a mask is a box. Crowds and ignore regions are lost. Class indices are the labels, from 0.

    Args:
        bridges: whether holes and parts are joined; otherwise holes are filled and the largest part is kept, and both are
            counted.
    """

    suffixes: ClassVar[Sequence[str]] = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

    def __init__(
        self, output: Path, classes: Sequence[str], category_ids: Sequence[int], *, bridges: bool = True
    ) -> None:
        super().__init__(output, classes, category_ids)
        self._bridges = bridges
        self._names = ImagePaths()
        self._splits: dict[str, None] = {}

    def write(self, image: WritableImage) -> None:
        split = "train" if image.split == "all" else image.split
        self._splits[split] = None
        stem = self._names.stem(image.name, split)
        self.save_image(image, self.output / "images" / split / f"{stem}.png")
        labels = self.output / "labels" / split / f"{stem}.txt"
        lines = label_lines(image.targets, image.size, self.losses, bridges=self._bridges)
        with whole_file(labels) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def close(self) -> None:
        write_data_file(self.output / "data.yaml", self.classes, self._splits)


def label_lines(targets: Targets, size: tuple[int, int], losses: Counter[str], *, bridges: bool = True) -> list[str]:
    """The lines of an image's label file.

    Args:
        targets: the objects.
        size: (H, W) of the image.
        losses: counts what cannot be written.
        bridges: as of :class:`YoloWriter`.
    """
    height, width = size
    outlines = mask_outlines(targets.masks) if targets.masks is not None else [[] for _ in range(len(targets))]
    lines, boxes, polygons = [], 0, 0
    columns = (targets.labels.tolist(), targets.crowd.tolist(), targets.has_mask.tolist(), targets.boxes.tolist())
    for label, crowd, has_mask, box, parts in zip(*columns, outlines, strict=True):
        if label == ALL_CLASSES or crowd:
            losses[IGNORED if label == ALL_CLASSES else CROWDS] += 1
        elif has_mask and parts:
            polygon = _polygon(parts, losses, bridges=bridges) / [width, height]
            lines.append(f"{label} {_text(polygon.reshape(-1))}")
            polygons += 1
        elif has_mask or box[2] <= box[0] or box[3] <= box[1]:
            losses[EMPTY] += 1
        else:
            x0, y0, x1, y1 = box
            values = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
            lines.append(f"{label} {_text(np.array(values))}")
            boxes += 1
    if boxes and polygons:
        losses[MIXED] += boxes
    return lines


def write_data_file(path: Path, classes: Sequence[str], splits: Collection[str]) -> None:
    """Writes ``data.yaml``, which names the folders of images and the classes.

    Args:
        path: of the file.
        classes: name of each label.
        splits: those that have a folder ``images/SPLIT``.
    """
    content = {split: f"images/{split}" for split in sorted(splits)}
    # Ultralytics needs both keys; a missing one repeats the other.
    for key, other in (("train", "val"), ("val", "train")):
        content.setdefault(key, content.get(other, "images/train"))
    with whole_file(path) as temporary:
        temporary.write_text(write_yaml({**content, "names": dict(enumerate(classes))}), encoding="utf-8")


def _polygon(parts: list[Part], losses: Counter[str], *, bridges: bool) -> np.ndarray:
    """The polygon of an object."""
    if bridges:
        return even_odd_polygon(parts)
    if len(parts) > 1:
        losses[PARTS] += 1
        parts = [max(parts, key=_area)]
    if parts[0][1]:
        losses[HOLES] += 1
    return parts[0][0]


def _area(part: Part) -> float:
    """Area of a part, without its holes."""
    return sum(abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())) * sign for (x, y), sign in _signed(part)) / 2


def _signed(part: Part) -> list[tuple[np.ndarray, int]]:
    return [(part[0].T, 1), *((hole.T, -1) for hole in part[1])]


def _text(values: np.ndarray) -> str:
    """Numbers with the fewest digits that restore them."""
    return " ".join(repr(value) if value % 1 else str(int(value)) for value in values.tolist())
