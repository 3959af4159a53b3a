"""Writes a cut-out of each object."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segkit.data.writers.image_names import folder_name
from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.object_rows import csv_line, plain_text
from segkit.results.part_files import PartFiles
from segkit.structures.ragged import arrays
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError, counted
from segkit.utils.images.lazy_image import LazyImage
from segkit.utils.images.stored_image import COLOR_CHANNELS, StoredImage, convert_colors
from segkit.utils.images.stored_writer import write_stored
from segkit.utils.paths.file_names import name_fold
from segkit.utils.table_text import escape_csv

logger = logging.getLogger(__name__)

ROWS, SKIPPED = "crops_rows", "crops_skipped"
COLUMNS = ("file", "image", "series", "frame", "id", "class", "score", "x0", "y0", "x1", "y1")
CELL = 2048  # side of the parts of a large image that are read for the objects whose centre lies in them


@RESULT_WRITER_REGISTRY.register(name="crops")
class CropsResultWriter(ResultWriter):
    """Writes ``crops/CLASS/STEM_ID.png`` for each object, and ``crops.csv``, which lists them.

    A crop has the samples of the file: 8-bit grey and RGB as PNG, more bits or other channels as TIFF (``.tif``). Palettes,
    CMYK and inverted grey become RGB and grey, and alpha is dropped, as when an image is read for a model.

    Args:
        output, classes, category_ids, parts: as of every writer.
        margin: pixels around the object's box; the image's edge cuts them.
        masked: whether pixels outside of the object's mask become 0.
        min_score: objects with a lower score are skipped.
        min_area: objects with fewer pixels are skipped; of boxes without masks, with a smaller area.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        parts: PartFiles,
        *,
        margin: int = 0,
        masked: bool = False,
        min_score: float = 0.0,
        min_area: int = 1,
    ) -> None:
        super().__init__(output, classes, category_ids, parts)
        for name, value, valid in (
            ("margin", margin, isinstance(margin, int) and margin >= 0),
            ("min_score", min_score, 0 <= min_score <= 1),
            ("min_area", min_area, isinstance(min_area, int) and min_area >= 1),
        ):
            if not valid:
                expected = {
                    "margin": "whole pixels, at least 0",
                    "min_score": "a number in 0..1",
                    "min_area": "whole pixels, 1 or more",
                }
                raise SegkitError(f"crops: {name} is {value}; expected {expected[name]}", key=name, value=value)
        self._margin, self._masked = margin, masked
        self._min_score, self._min_area = min_score, min_area
        self.folder = self.output / "crops"
        self._folders = _class_folders(self.classes)
        self.path = self.output / "crops.csv"

    def add(self, image: PredictedImage) -> None:
        boxes, areas = _boxes_and_areas(image)
        found = image.detections
        chosen = (areas >= self._min_area) & (found.scores.cpu().numpy() >= self._min_score)
        if self._masked and found.masks is None and len(found):
            raise SegkitError(
                f"{image.name}: crops: masked needs masks, but the model predicts boxes alone", key="masked"
            )
        crops = None if found.masks is None else arrays(found.masks.bits, found.masks.crop_boxes)
        scores, labels, ids = (
            [str(v) for v in found.scores.cpu().numpy()],
            found.labels.tolist(),
            image.object_ids.tolist(),
        )
        kept = np.flatnonzero(chosen)
        windows = _grown(boxes, self._margin, image.size)
        for i, stored in self._cut_out(image, kept, windows):
            if self._masked and crops is not None:
                stored = _masked(stored, crops[i], boxes[i], windows[i])
            folder = self._folders[labels[i]]
            name = self._write(self.folder / folder, f"{image.stem}_{ids[i]:05d}", stored)
            row = {
                "file": f"crops/{folder}/{name}",
                "image": image.name,
                "series": image.series,
                "frame": image.frame,
                "id": ids[i],
                "class": self.classes[labels[i]],
                "score": scores[i],
                "window": windows[i].tolist(),
            }
            self.parts.append(ROWS, json.dumps(row))
        if skipped := len(found) - len(kept):
            self.parts.append(SKIPPED, str(skipped))

    def close(self) -> list[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        written = 0
        with atomic_write(self.path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(csv_line(COLUMNS) + "\n")
            for line in self.parts.lines(ROWS):
                row, written = json.loads(line), written + 1
                text = [escape_csv(plain_text(row[key] or "")) for key in ("file", "image", "series", "class")]
                file, name, series, label = text
                stream.write(
                    csv_line([file, name, series, row["frame"], row["id"], label, row["score"], *row["window"]])
                )
                stream.write("\n")
        if skipped := sum(int(line) for line in self.parts.lines(SKIPPED)):
            logger.info("crops: %s below min_score or min_area, not written", counted(skipped, "object"))
        others = sum(1 for folder in self._folders for file in (self.folder / folder).glob("[!.]*"))
        if others > written:
            logger.warning("%s holds %d files of earlier predictions; crops.csv lists those of this one",
                           self.folder, others - written)  # fmt: skip
        return [self.folder, self.path]

    def _cut_out(
        self, image: PredictedImage, kept: np.ndarray, windows: np.ndarray
    ) -> Iterator[tuple[int, StoredImage]]:
        """Yields the index and the image of each object; of a large image, parts with several objects are read."""
        for members in _together(image, kept, windows):
            x0, y0 = windows[members, :2].min(0).tolist()
            x1, y1 = windows[members, 2:].max(0).tolist()
            lazy = isinstance(image.image, LazyImage)
            whole = image.stored((x0, y0, x1, y1) if lazy else None)
            left, top = (x0, y0) if lazy else (0, 0)
            for i, (xa, ya, xb, yb) in zip(members.tolist(), windows[members].tolist(), strict=True):
                part = replace(whole, pixels=whole.pixels[ya - top : yb - top, xa - left : xb - left])
                yield i, _plain(part, image.name)

    def _write(self, folder: Path, stem: str, image: StoredImage) -> str:
        """Writes a crop, whole or not at all; returns the file's name."""
        partial = folder / f".{stem}.{os.getpid()}.tmp"
        try:
            temporary = write_stored(partial, image)
        except BaseException:
            for suffix in (".png", ".tif"):
                partial.with_name(partial.name + suffix).unlink(missing_ok=True)
            raise
        name = stem + temporary.suffix
        os.replace(temporary, folder / name)
        return name


def _class_folders(classes: Sequence[str]) -> list[str]:
    """A folder for each class, by names that every file system accepts."""
    folders: list[str] = []
    for name in classes:
        folder = folder_name(name)
        while name_fold(folder) in map(name_fold, folders):
            folder += "_"
        folders.append(folder)
    return folders


def _boxes_and_areas(image: PredictedImage) -> tuple[np.ndarray, np.ndarray]:
    """The pixels' boxes, int64 [N, 4], and areas [N]; of boxes without masks the pixels that they touch."""
    masks = image.detections.masks
    if masks is not None:
        return masks.crop_boxes.numpy(), masks.areas().numpy()
    boxes = image.detections.boxes.cpu().numpy().astype(np.float64)
    height, width = image.size
    whole = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], 1)
    return whole.clip(0, [width, height, width, height]).astype(np.int64), (boxes[:, 2:] - boxes[:, :2]).prod(1)


def _grown(boxes: np.ndarray, margin: int, size: tuple[int, int]) -> np.ndarray:
    """The boxes with a margin, within the image."""
    height, width = size
    return (boxes + np.array([-margin, -margin, margin, margin])).clip(0, [width, height, width, height])


def _together(image: PredictedImage, kept: np.ndarray, windows: np.ndarray) -> Iterator[np.ndarray]:
    """Divides objects into those that are cut from one read: all, or those near each other in a large image."""
    if not len(kept):
        return
    if not isinstance(image.image, LazyImage):
        yield kept
        return
    cells = (windows[kept, :2] + windows[kept, 2:]) // 2 // CELL
    order = np.lexsort((cells[:, 0], cells[:, 1]))
    changes = np.flatnonzero((np.diff(cells[order], axis=0) != 0).any(1)) + 1
    yield from np.split(kept[order], changes)


def _plain(image: StoredImage, name: str) -> StoredImage:
    """Grey or RGB as it is shown, without alpha; other channels as they are stored."""
    plain = image.color in ("grey", "rgb") and not image.extra
    if plain or image.color not in COLOR_CHANNELS or "unknown" in image.extra:
        return image
    colors, bits = convert_colors(image, name)
    grey = colors.shape[2] == 1
    return StoredImage(colors[:, :, 0] if grey else colors, "grey" if grey else "rgb", bits)


def _masked(image: StoredImage, crop: np.ndarray, box: np.ndarray, window: np.ndarray) -> StoredImage:
    """The image of a window with 0 outside of a mask, whose crop lies in ``box``."""
    pixels = np.zeros_like(image.pixels)
    (x0, y0, x1, y1), (left, top) = box.tolist(), window[:2].tolist()
    inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    shown = crop.view(np.bool_) if pixels.ndim == 2 else crop.view(np.bool_)[:, :, None]
    np.copyto(pixels[inside], image.pixels[inside], where=shown)
    return replace(image, pixels=pixels)
