"""Writes COCO: ``annotations/instances_SPLIT.json`` and ``images/SPLIT/``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from segkit.data.writers.base import DatasetWriter, WritableImage
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.outline_polygons import even_odd_polygon, mask_outlines
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.atomic import atomic_write

IGNORE = "ignore"  # the category of ignore regions
LISTS = ("images", "annotations")


@DATASET_WRITER_REGISTRY.register(name="coco")
class CocoWriter(DatasetWriter):
    """COCO's JSON, one for each split, with the images beside it.

    Image ids and category ids are kept. Masks are exact in both forms; crowd regions are RLE, as COCO's own. Objects
    without a mask have no ``segmentation``. COCO has no ignore regions of all classes: they are written as crowds of a
    category ``ignore``, which is added, and ``data.ignore_classes: [ignore]`` makes them ignore regions again. The lists are
    written as they come, so that a million annotations take no
    memory.

    Args:
        output, classes, category_ids: as for every writer.
        segmentation: ``rle``: COCO's compressed RLE; ``polygon``: outlines along the edges of the pixels, where holes are
            joined to the outline by lines of no width.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        *,
        segmentation: Literal["rle", "polygon"] = "rle",
    ) -> None:
        super().__init__(output, classes, category_ids)
        self.segmentation = segmentation
        self._splits: dict[str, _Split] = {}
        names = (IGNORE, *(f"{IGNORE}_{n}" for n in range(2, len(self.classes) + 3)))
        self._ignore: dict[str, Any] = {
            "id": max(self.category_ids, default=0) + 1,
            "name": next(n for n in names if n not in self.classes),
        }
        self._has_ignored = False

    def write(self, image: WritableImage) -> None:
        if image.split not in self._splits:
            self._splits[image.split] = _Split(self.output / "annotations", image.split)
        split = self._splits[image.split]
        folder = self.output / "images" / image.split
        file = self.save_image(image, folder / image.name)
        height, width = image.size
        name = file.relative_to(folder).as_posix()
        split.add("images", {"id": image.image_id, "file_name": name, "height": height, "width": width})
        for annotation in self._annotations(image.targets):
            split.count += 1
            split.add("annotations", {"id": split.count, "image_id": image.image_id, **annotation})

    def close(self) -> None:
        categories: list[dict[str, Any]] = [
            {"id": k, "name": name} for k, name in zip(self.category_ids, self.classes, strict=True)
        ]
        categories += [self._ignore] if self._has_ignored else []
        for split in self._splits.values():
            split.finish(categories)

    def abort(self) -> None:
        for split in self._splits.values():
            split.remove()

    def _annotations(self, targets: Targets) -> Iterator[dict[str, Any]]:
        """COCO's dicts of an image's objects, without ids."""
        has_mask, crowd = targets.has_mask.tolist(), targets.crowd.tolist()
        masks = targets.masks
        rles: list[Any] = [None] * len(targets) if masks is None else masks.to_rle()
        areas = [0] * len(targets) if masks is None else masks.areas().tolist()
        crops = [[0] * 4] * len(targets) if masks is None else masks.crop_boxes.tolist()
        polygons = self._polygons(targets)
        for i, (box, label) in enumerate(zip(targets.boxes.double().tolist(), targets.labels.tolist(), strict=True)):
            x0, y0, x1, y1 = crops[i] if has_mask[i] else map(_short, box)
            shape: dict[str, Any] = {"bbox": [x0, y0, x1 - x0, y1 - y0]}
            shape["area"] = areas[i] if has_mask[i] else (x1 - x0) * (y1 - y0)
            if has_mask[i]:
                shape["segmentation"] = rles[i] if crowd[i] or polygons is None else polygons[i]
            shape["iscrowd"] = int(crowd[i])
            if label == ALL_CLASSES:
                name, self._has_ignored = self._ignore["name"], True
                self.losses[
                    f"ignore regions, now crowds of a category: data.ignore_classes=[{name}] restores them"
                ] += 1
                yield {**shape, "category_id": self._ignore["id"]}
            else:
                yield {**shape, "category_id": self.category_ids[label]}

    def _polygons(self, targets: Targets) -> list[list[list[int]]] | None:
        """COCO's polygons of each object; None if masks are written as RLE."""
        if self.segmentation == "rle" or targets.masks is None:
            return None
        found: list[list[list[int]]] = []
        for parts in mask_outlines(targets.masks):
            has_holes = any(holes for _, holes in parts)
            rings = [even_odd_polygon(parts)] if has_holes else [outer for outer, _ in parts]
            found.append([np.asarray(ring).reshape(-1).tolist() for ring in rings])
        return found


class _Split:
    """The lists of one JSON, each in a temporary file until all images are written."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.count = folder / f"instances_{name}.json", 0
        self._parts = {key: folder / f".instances_{name}.{key}.part" for key in LISTS}
        self._separators = dict.fromkeys(LISTS, "")
        self._streams: dict[str, TextIO] = {
            key: open(part, "w", encoding="utf-8")  # noqa: SIM115  # closed by `finish` or `remove`
            for key, part in self._parts.items()
        }

    def add(self, key: str, item: dict[str, Any]) -> None:
        stream = self._streams[key]
        stream.write(self._separators[key] + json.dumps(item, separators=(",", ":")))
        self._separators[key] = ",\n"

    def finish(self, categories: list[dict[str, Any]]) -> None:
        """Joins the lists to the JSON."""
        for stream in self._streams.values():
            stream.close()
        with atomic_write(self.file) as temporary, open(temporary, "w", encoding="utf-8") as output:
            output.write('{"info":{"description":"written by segkit"},\n"categories":' + json.dumps(categories))
            for key, part in self._parts.items():
                output.write(f',\n"{key}":[\n')
                with open(part, encoding="utf-8") as stream:
                    while chunk := stream.read(1 << 20):
                        output.write(chunk)
                output.write("\n]")
            output.write("}\n")
        self.remove()

    def remove(self) -> None:
        for key, part in self._parts.items():
            self._streams[key].close()
            part.unlink(missing_ok=True)


def _short(value: float) -> float:
    return int(value) if value.is_integer() else value
