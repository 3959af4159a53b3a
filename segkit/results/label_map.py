"""Writes label maps: the number of the object in each pixel."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.calibrated import PixelSizeOption
from segkit.results.part_files import PartFiles
from segkit.results.whole_file import whole_file
from segkit.structures.masks import InstanceMasks
from segkit.structures.painting import BAND_PIXELS, LabelPainter, by_score, smallest_type
from segkit.utils.errors import SegkitError
from segkit.utils.images import PixelSize

STRIP_BYTES = 1 << 18  # of the samples in a strip
COMPRESSION = 1  # of zlib; higher levels take several times as long for a few percent
CLASSIC_BYTES = 1 << 32  # of the samples; larger maps are BigTIFF


@RESULT_WRITER_REGISTRY.register(name="label_map")
class LabelMapResultWriter(ResultWriter):
    """Writes ``label_maps/STEM.tif``: the id of the object in each pixel, 0 for the background.

    Ids are those of the table and of all other results: 1 for the first object, or its track in a time series. A pixel that
    several objects cover belongs to the one of the highest score, of equal ones to the first; an object that others cover
    completely has no pixel.

    The files are compressed without loss (zlib), in strips, which ImageJ reads too. They have the size of the upright image,
    and its pixel size as ImageJ stores it.

    Args:
        output, classes, category_ids, parts: as of every writer.
        dtype: ``auto`` is uint16, and uint32 for an image with an id above 65,535.
        pixel_size: in micrometres, one number or width and height; None: as each image's file says.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        parts: PartFiles,
        *,
        dtype: Literal["auto", "uint16", "uint32"] = "auto",
        pixel_size: float | list[float] | None = None,
    ) -> None:
        super().__init__(output, classes, category_ids, parts)
        if dtype not in ("auto", "uint16", "uint32"):
            raise SegkitError(
                f"label_map: dtype is {dtype!r}; expected auto, uint16 or uint32", key="dtype", value=dtype
            )
        self.folder = self.output / "label_maps"
        self._dtype = dtype
        self._pixel_sizes = PixelSizeOption(pixel_size)

    def files_of(self, stem: str) -> list[Path]:
        return [self.folder / f"{stem}.tif"]

    def add(self, image: PredictedImage) -> None:
        painter = LabelPainter(
            masks_of(image, "label_map"),
            image.object_ids,
            order=by_score(image.detections.scores),
            dtype=self._type_for(image),
        )
        with whole_file(self.files_of(image.stem)[0]) as temporary:
            write_label_map(temporary, painter, int(image.object_ids.max(initial=0)), self._pixel_sizes.of(image))

    def close(self) -> list[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return [self.folder]

    def _type_for(self, image: PredictedImage) -> np.dtype:
        highest = int(image.object_ids.max(initial=0))
        if self._dtype == "auto":
            return smallest_type(highest)
        if highest > np.iinfo(self._dtype).max:
            raise SegkitError(
                f"{image.name}: the id {highest} of an object does not fit a label map of {self._dtype}; set dtype to uint32 "
                "or auto",
                key="dtype",
                value=self._dtype,
            )
        return np.dtype(self._dtype)


def masks_of(image: PredictedImage, writer: str) -> InstanceMasks:
    """The masks of an image's detections.

    Raises:
        SegkitError: the model predicts boxes alone.
    """
    masks = image.detections.masks
    if masks is None and len(image.detections):
        raise SegkitError(
            f"{image.name}: {writer} needs masks, but the model predicts boxes without masks; write table, counts or coco",
            value=writer,
        )
    return InstanceMasks.empty(image.size) if masks is None else masks


def write_label_map(path: Path, painter: LabelPainter, highest: int, pixel_size: PixelSize | None) -> None:
    """Writes a TIFF as ImageJ does, strip by strip; the map is never whole in memory.

    Args:
        path: of the file.
        painter: paints the rows.
        highest: id, for the brightness with which ImageJ shows the file.
        pixel_size: None: unknown.
    """
    import tifffile

    height, width = painter.size
    rows = max(1, STRIP_BYTES // max(1, width * painter.dtype.itemsize))
    lines = ["ImageJ=1.54f", "images=1", f"min=0.0\nmax={float(max(highest, 1))}"]
    options: dict[str, Any] = {}
    if pixel_size is not None:
        lines.insert(2, "unit=micron")
        options = {"resolution": (1 / pixel_size.width, 1 / pixel_size.height), "resolutionunit": "NONE"}
    tifffile.imwrite(
        path,
        _strips(painter, rows),
        shape=(height, width),
        dtype=painter.dtype,
        bigtiff=height * width * painter.dtype.itemsize >= CLASSIC_BYTES,
        photometric="minisblack",
        compression="zlib",
        rowsperstrip=rows,
        description="\n".join(lines) + "\n",
        metadata=None,
        software="segkit",
        **options,
    )


def _strips(painter: LabelPainter, rows: int) -> Iterator[bytes]:
    """Compressed strips, each of ``rows`` rows; several are painted at a time."""
    strips = max(1, BAND_PIXELS // (rows * painter.size[1]))
    for band in painter.bands(rows * strips):
        for first in range(0, len(band), rows):
            yield zlib.compress(band[first : first + rows].tobytes(), COMPRESSION)
