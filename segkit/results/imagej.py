"""Writes regions of interest that ImageJ and Fiji open."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.formats.imagej_rois.shapes import CLOSE, LINE, MOVE
from segkit.data.writers.geojson_features import class_color
from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.geojson import EMPTY
from segkit.results.part_files import PartFiles
from segkit.results.source_images import Losses
from segkit.structures.outline_polygons import Part, mask_outlines
from segkit.utils.optional_packages import require
from segkit.utils.whole_file import whole_file

LARGEST = 32_767  # the highest coordinate of a ROI


@RESULT_WRITER_REGISTRY.register(name="imagej")
class ImageJResultWriter(ResultWriter):
    """Writes ``imagej/STEM.zip`` of ROIs for each image, which the ROI Manager opens.

    It needs ``pip install 'segkit[imagej]'``. A ROI is an object, called ``CLASS_ID`` with the id of label maps and tables:
    a traced polygon along the edges of its
    pixels, a composite ROI if it has holes or several parts, a rectangle without a mask. Its colour is that of its class.
    In a time series its position is the frame.

    Args:
        output, classes, category_ids, parts: as of every writer.
    """

    def __init__(self, output: Path, classes: Sequence[str], category_ids: Sequence[int], parts: PartFiles) -> None:
        super().__init__(output, classes, category_ids, parts)
        require("roifile", "imagej", "the writer imagej")
        self.folder = self.output / "imagej"
        self._losses = Losses(parts, "imagej")

    def files_of(self, stem: str) -> list[Path]:
        return [self.folder / f"{stem}.zip"]

    def add(self, image: PredictedImage) -> None:
        losses: Counter[str] = Counter()
        with (
            whole_file(self.files_of(image.stem)[0]) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            for name, roi in self._rois(image, losses):
                archive.writestr(zipfile.ZipInfo(f"{name}.roi"), roi.tobytes(), zipfile.ZIP_DEFLATED, 1)
        self._losses.add(image, losses)

    def close(self) -> list[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._losses.report()
        return [self.folder]

    def _rois(self, image: PredictedImage, losses: Counter[str]) -> Iterator[tuple[str, Any]]:
        found, masks = image.detections, image.detections.masks
        outlines: Sequence[Sequence[Part] | None] = [None] * len(found) if masks is None else mask_outlines(masks)
        rows = zip(image.object_ids.tolist(), found.labels.tolist(), found.boxes.tolist(), outlines, strict=True)
        for number, label, box, parts in rows:
            if parts is not None and not parts:
                losses[EMPTY] += 1
                continue
            if max(image.size) > LARGEST and max(box) > LARGEST:
                losses[f"objects beyond pixel {LARGEST:,}, which a ROI cannot hold"] += 1
                continue
            name = f"{_file_name(self.classes[label])}_{number:05d}"
            roi = _rectangle(box) if parts is None else _polygon(parts)
            roi.name = name
            red, green, blue = class_color(label)
            roi.stroke_color = bytes((255, red, green, blue))
            if image.frame is not None:
                roi.t_position = image.frame + 1
            yield name, roi


def _polygon(parts: Sequence[Part]) -> Any:
    """A traced ROI of one ring, a composite ROI of several."""
    from roifile import ROI_TYPE, ImagejRoi

    rings = [ring for outer, holes in parts for ring in (outer, *holes)]
    if len(rings) == 1:
        roi = ImagejRoi.frompoints(np.asarray(rings[0], np.int32))
        roi.roitype = ROI_TYPE.TRACED
        roi.right, roi.bottom = roi.right - 1, roi.bottom - 1  # points are corners of pixels, not pixels
        return roi
    points = np.concatenate(rings)
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    path: list[float] = []
    for ring in rings:
        for k, (x, y) in enumerate(ring.tolist()):
            path += [MOVE if k == 0 else LINE, x, y]
        path.append(CLOSE)
    roi = ImagejRoi(roitype=ROI_TYPE.RECT, left=int(left), top=int(top), right=int(right), bottom=int(bottom))
    roi.multi_coordinates = np.array(path, np.float32)
    roi.shape_roi_size = len(path)
    return roi


def _rectangle(box: Sequence[float]) -> Any:
    """A rectangle of the box's sides, rounded to whole pixels, at least one."""
    from roifile import ROI_TYPE, ImagejRoi

    x0, y0, x1, y1 = (round(side) for side in box)
    return ImagejRoi(roitype=ROI_TYPE.RECT, left=x0, top=y0, right=max(x1, x0 + 1), bottom=max(y1, y0 + 1))


def _file_name(text: str) -> str:
    """A class name without characters that are special in the names of files."""
    return "".join("_" if char in '<>:"|?*\\/' or ord(char) < 32 else char for char in text)
