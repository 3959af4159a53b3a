"""Writes counts and densities of objects: a row for each image and class, and the totals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.calibrated import PixelSizeOption
from segkit.results.object_rows import csv_line, plain_text
from segkit.results.part_files import PartFiles
from segkit.structures.masks import InstanceMasks
from segkit.structures.painting import LabelPainter
from segkit.utils.atomic import atomic_write
from segkit.utils.table_text import escape_csv

IMAGES = "counts_images"
ALL = "(all)"  # the class of the rows of all classes together
MEASURES = (
    "objects", "density_per_megapixel", "density_per_mm2", "mean_area_px", "mean_area_um2", "covered_share",
    "image_area_px", "image_area_mm2",
)  # fmt: skip


@dataclass
class _Count:
    """Objects of one class, or of all, on an image or on several.

    Attributes:
        objects: number of objects.
        pixels: sum of their areas.
        covered: number of pixels that at least one covers; None: there are boxes without masks among them.
        image_pixels: area of the images.
        micrometres: the sum of the objects' areas in square micrometres; None: a pixel size is unknown.
        millimetres: area of the images in square millimetres; likewise.
    """

    objects: int = 0
    pixels: float = 0
    covered: int | None = 0
    image_pixels: int = 0
    micrometres: float | None = 0
    millimetres: float | None = 0

    def add(self, other: _Count) -> None:
        """Adds the objects and the area of other images."""
        self.objects += other.objects
        self.pixels += other.pixels
        self.image_pixels += other.image_pixels
        self.covered = None if self.covered is None or other.covered is None else self.covered + other.covered
        self.micrometres = _sum(self.micrometres, other.micrometres)
        self.millimetres = _sum(self.millimetres, other.millimetres)

    def cells(self) -> list[Any]:
        """The values of ``MEASURES``."""
        return [
            self.objects,
            _share(1e6 * self.objects, self.image_pixels),
            _share(self.objects, self.millimetres),
            _share(self.pixels, self.objects),
            _share(self.micrometres, self.objects),
            _share(self.covered, self.image_pixels),
            self.image_pixels,
            self.millimetres,
        ]


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


@RESULT_WRITER_REGISTRY.register(name="counts")
class CountsResultWriter(ResultWriter):
    """Writes ``counts.csv`` and ``counts_total.csv``: numbers and densities of objects.

    The first has a row for each image and class, the second a row for each class.

    The class ``(all)`` stands for all classes together. Densities are per megapixel, and per square millimetre where the
    pixel size is known; a total in micrometres or millimetres needs that of every image. ``covered_share`` is the share of
    the image's pixels that at least one object covers; it is empty for boxes without masks.

    Args:
        output, classes, category_ids, parts: as of every writer.
        pixel_size: in micrometres, one number or width and height; None: as each image's file says.
        zeros: whether classes without an object in an image have a row for it.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        parts: PartFiles,
        *,
        pixel_size: float | list[float] | None = None,
        zeros: bool = True,
    ) -> None:
        super().__init__(output, classes, category_ids, parts)
        self._zeros = zeros
        self._pixel_sizes = PixelSizeOption(pixel_size)
        self.paths = [self.output / "counts.csv", self.output / "counts_total.csv"]

    def add(self, image: PredictedImage) -> None:
        size = self._pixel_sizes.of(image)
        labels = image.detections.labels.cpu().numpy()
        areas, covered = _areas(image, labels, len(self.classes))
        counts = np.bincount(labels, minlength=len(self.classes))
        sums = np.bincount(labels, areas, minlength=len(self.classes))
        line = {
            "image": image.name,
            "series": image.series,
            "frame": image.frame,
            "pixels": image.size[0] * image.size[1],
            "pixel_area": None if size is None else size.area,
            "counts": [*counts.tolist(), len(labels)],
            "areas": [*sums.tolist(), float(areas.sum())],
            "covered": covered,
        }
        self.parts.append(IMAGES, json.dumps(line))

    def close(self) -> list[Path]:
        totals = [_Count() for _ in range(len(self.classes) + 1)]
        names = [*self.classes, ALL]
        shown = [escape_csv(plain_text(name)) for name in names]
        images, images_with = 0, [0] * len(names)
        with atomic_write(self.paths[0]) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(csv_line(["image", "series", "frame", "class", *MEASURES]) + "\n")
            for line, counts in self._counted():
                images += 1
                about = [
                    escape_csv(plain_text(line["image"])),
                    escape_csv(plain_text(line["series"] or "")),
                    line["frame"],
                ]
                for k, count in enumerate(counts):
                    if self._zeros or count.objects or k == len(self.classes):
                        stream.write(csv_line([*about, shown[k], *count.cells()]) + "\n")
                    totals[k].add(count)
                    images_with[k] += count.objects > 0
        with atomic_write(self.paths[1]) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(csv_line(["class", "images", "images_with", *MEASURES]) + "\n")
            for name, present, total in zip(shown, images_with, totals, strict=True):
                stream.write(csv_line([name, images, present, *total.cells()]) + "\n")
        return self.paths

    def _counted(self) -> Iterator[tuple[dict[str, Any], list[_Count]]]:
        """Each image's line, and the counts of its classes and of all."""
        for text in self.parts.lines(IMAGES):
            line = json.loads(text)
            pixel, pixels = line["pixel_area"], line["pixels"]
            yield (
                line,
                [
                    _Count(
                        objects,
                        area,
                        covered,
                        pixels,
                        None if pixel is None else area * pixel,
                        None if pixel is None else pixels * pixel / 1e6,
                    )
                    for objects, area, covered in zip(line["counts"], line["areas"], line["covered"], strict=True)
                ],
            )


def _areas(image: PredictedImage, labels: np.ndarray, count: int) -> tuple[np.ndarray, list[int | None]]:
    """The area of each object, and the pixels that each class, and all together, cover."""
    masks = image.detections.masks
    if masks is None:
        boxes = image.detections.boxes.cpu().numpy().astype(np.float64)
        covered: list[int | None] = [0 if not len(boxes) else None] * (count + 1)
        return (boxes[:, 2:] - boxes[:, :2]).prod(1), covered
    areas = masks.areas().numpy()
    together = _covered(masks)
    if together == areas.sum():  # no object overlaps another
        return areas.astype(np.float64), [*map(int, np.bincount(labels, areas, minlength=count)), together]
    own = [0] * count
    for label in np.unique(labels).tolist():
        own[label] = _covered(masks[labels == label])
    return areas.astype(np.float64), [*own, together]


def _covered(masks: InstanceMasks) -> int:
    """Number of pixels that any mask covers."""
    if not len(masks):
        return 0
    painter = LabelPainter(masks, np.ones(len(masks), np.int64), dtype=np.uint8)
    return sum(int(np.count_nonzero(band)) for band in painter.bands())
