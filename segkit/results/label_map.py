"""Writes label maps: the number of the object in each pixel."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.calibrated import PixelSizeOption
from segkit.results.label_files import COMPRESSION, FrameMaps, strip_rows, write_imagej
from segkit.results.part_files import PartFiles
from segkit.structures.masks import InstanceMasks
from segkit.structures.painting import BAND_PIXELS, LabelPainter, by_score, smallest_type
from segkit.utils.errors import SegkitError
from segkit.utils.images import PixelSize
from segkit.utils.paths.file_names import unique_stems
from segkit.utils.whole_file import whole_file

logger = logging.getLogger(__name__)

FRAMES = "label_map_frames"


@RESULT_WRITER_REGISTRY.register(name="label_map")
class LabelMapResultWriter(ResultWriter):
    """Writes ``label_maps/STEM.tif``: the id of the object in each pixel, 0 for the background.

    Ids are those of the table and of all other results: 1 for the first object, or its track in a time series. A pixel that
    several objects cover belongs to the one of the highest score, of equal ones to the first; an object that others cover
    completely has no pixel.

    The files are compressed without loss (zlib), in strips, which ImageJ reads too. They have the size of the upright image,
    and its pixel size as ImageJ stores it. The frames of a time series are also written as one stack,
    ``label_stacks/SERIES.tif``, with the axes T, Y and X; a frame that could not be read is empty there.

    Args:
        output, classes, category_ids, parts: as of every writer.
        dtype: ``auto`` is uint16, and uint32 for an image with an id above 65,535.
        stacks: whether time series are written as stacks too.
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
        stacks: bool = True,
        pixel_size: float | list[float] | None = None,
    ) -> None:
        super().__init__(output, classes, category_ids, parts)
        if dtype not in ("auto", "uint16", "uint32"):
            raise SegkitError(
                f"label_map: dtype is {dtype!r}; expected auto, uint16 or uint32", key="dtype", value=dtype
            )
        self.folder = self.output / "label_maps"
        self.stack_folder = self.output / "label_stacks"
        self._dtype, self._stacks = dtype, stacks
        self._pixel_sizes = PixelSizeOption(pixel_size)

    def files_of(self, stem: str) -> list[Path]:
        return [self.folder / f"{stem}.tif"]

    def add(self, image: PredictedImage) -> None:
        path, ids, size = self.files_of(image.stem)[0], image.object_ids, self._pixel_sizes.of(image)
        masks, dtype, order = masks_of(image, "label_map"), self._type_for(image), by_score(image.detections.scores)
        painter, highest = LabelPainter(masks, ids, order=order, dtype=dtype), int(ids.max(initial=0))
        with whole_file(path) as temporary:
            write_imagej(temporary, _strips(painter), image.size, dtype, highest=highest, pixel_size=size)
        if image.series is not None and image.frame is not None and self._stacks:
            if image.file is not None and image.file.resolve().parent == self.stack_folder.resolve():
                raise SegkitError(
                    f"{image.file} lies in {self.stack_folder}, where stacks are written; choose another output folder",
                    value=str(image.file),
                )
            sides = None if size is None else (size.width, size.height)
            self.parts.append(FRAMES, json.dumps([image.series, image.frame, image.stem, highest, sides]))

    def close(self) -> list[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        series: dict[str, FrameMaps] = {}
        for line in self.parts.lines(FRAMES):
            name, frame, stem, highest, sides = json.loads(line)
            size = None if sides is None else PixelSize(*sides)
            series.setdefault(name, FrameMaps(name, size)).add(frame, self.files_of(stem)[0], highest)
        stems = unique_stems(list(series))
        written = [self._write_stack(maps, stem) for maps, stem in zip(series.values(), stems, strict=True)]
        return [self.folder, *([self.stack_folder] if any(written) else [])]

    def _write_stack(self, maps: FrameMaps, stem: str) -> bool:
        """Writes the stack of a series; False if its frames are none."""
        try:
            with whole_file(self.stack_folder / f"{stem}.tif") as temporary:
                maps.write(temporary)
        except SegkitError as error:
            logger.warning("label_map: %s; each frame has a file of its own", error)
            return False
        return True

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


def _strips(painter: LabelPainter) -> Iterator[bytes]:
    """Compressed strips; several are painted at a time."""
    rows = strip_rows(painter.size[1], painter.dtype)
    strips = max(1, BAND_PIXELS // (rows * painter.size[1]))
    for band in painter.bands(rows * strips):
        for first in range(0, len(band), rows):
            yield zlib.compress(band[first : first + rows].tobytes(), COMPRESSION)
