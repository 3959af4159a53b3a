"""Writes label images as OME-Zarr."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.writers.geojson_features import class_color
from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.calibrated import PixelSizeOption
from segkit.results.label_map import masks_of
from segkit.results.part_files import PartFiles
from segkit.structures.painting import LabelPainter, by_score
from segkit.utils.optional_packages import require

CHUNK = 1024
SMALLEST = 256  # the pyramid ends when both sides are at most this
LABELS = "objects"  # name of the label image


@RESULT_WRITER_REGISTRY.register(name="ome_zarr")
class OmeZarrResultWriter(ResultWriter):
    """Writes ``ome_zarr/STEM.zarr``, a store with the label image ``labels/objects``.

    It needs ``pip install 'segkit[microscopy]'``. The form is OME-NGFF 0.4 (Zarr format 2), which napari and ome-zarr-py
    read: int32 chunks of 1,024 pixels, halved by the
    nearest pixel down to 256. Values are the ids of tables; a pixel of several objects belongs to the one of the highest
    score. ``image-label`` has the colour, class and score of each object, and the path of the image. A store is whole or
    absent.

    Args:
        output, classes, category_ids, parts: as of every writer.
        pixel_size: in micrometres, one number or width and height; None: as each image's file says.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        parts: PartFiles,
        *,
        pixel_size: float | list[float] | None = None,
    ) -> None:
        super().__init__(output, classes, category_ids, parts)
        require("zarr", "microscopy", "the writer ome_zarr")
        self.folder = self.output / "ome_zarr"
        self._pixel_sizes = PixelSizeOption(pixel_size)

    def files_of(self, stem: str) -> list[Path]:
        return []  # a store is a folder

    def add(self, image: PredictedImage) -> None:
        final = self.folder / f"{image.stem}.zarr"
        temporary = self.folder / f".{image.stem}.{os.getpid()}.tmp.zarr"
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._write(image, temporary)
            if final.exists():
                shutil.rmtree(final)
            temporary.rename(final)
        finally:
            if temporary.exists():
                shutil.rmtree(temporary)

    def close(self) -> list[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return [self.folder]

    def _write(self, image: PredictedImage, store: Path) -> None:
        import zarr

        form: dict[str, Any] = {"zarr_format": 2} if int(zarr.__version__.partition(".")[0]) >= 3 else {}
        root = zarr.open_group(os.fspath(store), mode="w", **form)
        labels = root.create_group("labels")
        labels.attrs["labels"] = [LABELS]
        group: Any = labels.create_group(LABELS)
        levels = _levels(image.size)
        for i, (height, width) in enumerate(levels):
            chunks = (min(CHUNK, height), min(CHUNK, width))
            create = group.create_array if hasattr(group, "create_array") else group.create_dataset
            separator = (
                {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
                if hasattr(group, "create_array")
                else {"dimension_separator": "/"}
            )
            create(str(i), shape=(height, width), chunks=chunks, dtype=np.dtype("<i4"), fill_value=0, **separator)
        painter = LabelPainter(
            masks_of(image, "ome_zarr"), image.object_ids, order=by_score(image.detections.scores), dtype=np.int32
        )
        step = 1 << (len(levels) - 1)
        for first, band in _bands(painter, image.size[0], max(CHUNK, step)):
            for i, (height, _) in enumerate(levels):
                small = band[:: 1 << i, :: 1 << i]
                start = first >> i
                group[str(i)][start : min(start + len(small), height)] = small[: height - start]
        attributes = self._attributes(image, len(levels))
        group.attrs.update(json.loads(json.dumps(attributes)))

    def _attributes(self, image: PredictedImage, levels: int) -> dict[str, Any]:
        size = self._pixel_sizes.of(image)
        height, width = (1.0, 1.0) if size is None else (size.height, size.width)
        unit = {} if size is None else {"unit": "micrometer"}
        axes = [{"name": name, "type": "space", **unit} for name in "yx"]
        datasets = [
            {
                "path": str(i),
                "coordinateTransformations": [{"type": "scale", "scale": [height * 2**i, width * 2**i]}],
            }
            for i in range(levels)
        ]
        found = image.detections
        rows = list(zip(image.object_ids.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True))
        return {
            "multiscales": [{"version": "0.4", "name": LABELS, "axes": axes, "datasets": datasets, "type": "nearest"}],
            "image-label": {
                "version": "0.4",
                "colors": [{"label-value": number, "rgba": [*class_color(label), 255]} for number, label, _ in rows],
                "properties": [
                    {"label-value": number, "class": self.classes[label], "score": round(score, 6)}
                    for number, label, score in rows
                ],
                "source": {"image": image.name},
            },
        }


def _levels(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Sizes (H, W) of the pyramid, the image's first; each has every second pixel of the one before."""
    levels = [size]
    while max(levels[-1]) > SMALLEST:
        height, width = levels[-1]
        levels.append((-(-height // 2), -(-width // 2)))
    return levels


def _bands(painter: LabelPainter, height: int, rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """The first row and the pixels of each band; ``rows`` is a multiple of the pyramid's largest step."""
    for first in range(0, height, rows):
        yield first, painter.paint(first, min(first + rows, height))
