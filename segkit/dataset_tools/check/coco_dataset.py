"""The valid part of a COCO JSON as a data set, with what the file states about each object."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from segkit.data.formats import Dataset
from segkit.data.formats.coco.table import CocoTable, ImageObjects
from segkit.data.formats.parsing.masks import decode_masks
from segkit.dataset_tools.check.stated import StatedObjects, polygon_bounds
from segkit.structures.lazy_targets import Window
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets


class Records:
    """The bytes of a file, read by slices: mapping them would count as memory of each process.

    Args:
        file: its path.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._opened: tuple[int, BinaryIO] | None = None

    def __getitem__(self, part: slice) -> np.ndarray:
        if self._opened is None or self._opened[0] != os.getpid():  # forked processes share the position of a file
            self._opened = os.getpid(), open(self.file, "rb")  # noqa: SIM115  # closed with the object
        stream = self._opened[1]
        stream.seek(part.start)
        return np.frombuffer(stream.read(part.stop - part.start), np.uint8)

    def __getstate__(self) -> dict[str, Any]:
        return {"file": self.file, "_opened": None}


class FaultyTable(CocoTable):
    """The columns and records of the valid part of a file.

    Args:
        arrays: as those of ``CocoTable``, by name.
    """

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.arrays = arrays  # type: ignore[assignment]  # has the method that is used, __getitem__


class FaultyCoco(Dataset):
    """Images and objects of a COCO JSON without what is invalid.

    Coordinates in 0..1 are multiplied by the image's size, and boxes without a mask that are XYXY are taken as such.

    Args:
        file: the JSON.
        folder: of the images.
        table: the kept images and annotations.
        statements: for each kept annotation, sorted by image: ``entries`` (index in the file), ``ids``, ``unit``
            (coordinates in 0..1), ``corners`` (the box is XYXY) and ``unlike_box`` (in 0..1 or XYXY, unlike the polygons).
        classes: id of each class by name, in the order of the labels.
    """

    def __init__(
        self,
        file: Path,
        folder: Path,
        table: FaultyTable,
        statements: Mapping[str, np.ndarray],
        classes: Mapping[str, int],
    ) -> None:
        self.file, self.folder = file, folder
        self._table, self._statements = table, dict(statements)
        self.classes, self.category_ids = list(classes), list(classes.values())
        self.image_ids = table.arrays["image_id"].tolist()
        self._last: tuple[int, ImageObjects] | None = None

    def load(self, index: int) -> Sample:
        image = self.reader.read(self.folder / self._table.name(index))
        targets = self.targets(index)
        return Sample(image, targets, self.image_ids[index], self._table.name(index), self.size(index), None)

    def targets(self, index: int, window: Window | None = None) -> Targets:
        targets = self.all_targets(index)
        return targets[~targets.degenerate()]

    def all_targets(self, index: int) -> Targets:
        objects, (height, width) = self._objects(index), self.size(index)
        rows = self._rows(index)
        sides = np.array([width, height, width, height], np.float64)
        boxes, segmentations = objects.boxes.copy(), list(objects.segmentations)
        for i in np.flatnonzero(self._statements["unit"][rows]).tolist():
            boxes[i] *= sides
            if isinstance(segmentations[i], list):
                segmentations[i] = [polygon * np.resize(sides[:2], len(polygon)) for polygon in segmentations[i]]
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
        is_corners = self._statements["corners"][rows]
        corners[is_corners] = boxes[is_corners]
        drawn = bool(segmentations) and all(isinstance(segmentation, list) for segmentation in segmentations)
        decode = InstanceMasks.from_polygons if drawn else decode_masks  # the latter sorts mixed ones
        masks = decode(segmentations, (height, width))
        has_mask = torch.tensor([segmentation is not None for segmentation in segmentations], dtype=torch.bool)
        inside = torch.from_numpy(np.minimum(np.maximum(corners, 0), sides)).float()
        together = torch.where(has_mask[:, None], masks.boxes(), inside)
        labels = torch.from_numpy(objects.categories.astype(np.int64))
        known = None if len(together) and not has_mask.any() else masks
        return Targets(together, labels, known, torch.from_numpy(objects.crowds), has_mask)

    def stated_objects(self, index: int) -> StatedObjects:
        """What the file states about the objects of an image."""
        rows, objects = self._rows(index), self._objects(index)
        boxes = np.concatenate([objects.boxes[:, :2], objects.boxes[:, :2] + objects.boxes[:, 2:]], 1)
        polygons = [one if isinstance(one, list) else [] for one in objects.segmentations]
        bounds = polygon_bounds(polygons)
        # These were listed when the file was read; comparing them with the masks would list them again.
        listed = self._statements["unit"][rows] | self._statements["corners"][rows]
        boxes[listed | self._statements["unlike_box"][rows]] = np.nan
        bounds[listed] = np.nan
        areas = np.where(listed, np.nan, objects.areas)
        ids, entries = self._statements["ids"][rows], self._statements["entries"][rows]
        several = np.array([len(one) > 1 for one in polygons], bool)
        return StatedObjects(str(self.file), ids, entries, boxes, areas, bounds, several, (), self.size(index))

    def label_counts(self, index: int) -> dict[int, int]:
        labels, counts = np.unique(self._table.categories(index), return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True))

    def object_counts(self) -> np.ndarray:
        return self._table.counts(crowds=False)

    def image_files(self) -> list[str]:
        folder = self.folder.resolve()
        return [os.path.join(folder, os.path.normpath(self._table.name(i))) for i in range(len(self))]

    def size(self, index: int) -> tuple[int, int]:
        return self._table.size(index)

    def describe(self) -> str:
        return f"COCO data set {self.file}"

    def _objects(self, index: int) -> ImageObjects:
        """The image's annotations; those of the last image are kept, because its checks ask twice."""
        if self._last is None or self._last[0] != index:
            self._last = index, self._table.objects(index)
        return self._last[1]

    def _rows(self, index: int) -> slice:
        """The image's part of the statements."""
        last = self._table.arrays["last"]
        return slice(int(last[index - 1]) if index else 0, int(last[index]))
