"""Label maps of large images: the objects of a window, without reading the whole file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.data.formats.label_map_file import check_label_map, check_shape
from segkit.structures.lazy_targets import Window
from segkit.structures.masks import InstanceMasks
from segkit.utils.images import ImageFile

BAND_PIXELS = 1 << 24  # of a large label map, read at once


@dataclass(frozen=True)
class MapObjects:
    """The objects of a label map.

    Attributes:
        ids: uint64 [N], ascending.
        boxes: int64 [N, 4], XYXY of each object's pixels.
    """

    ids: np.ndarray
    boxes: np.ndarray


def find_objects(path: Path, size: tuple[int, int]) -> MapObjects:
    """The objects of a label map and their boxes, read in bands of rows.

    Args:
        path: image file with one channel.
        size: expected (H, W).
    Raises:
        SegkitError: as :func:`~segkit.data.formats.label_map_file.read_label_map`.
    """
    file = ImageFile(path)
    check_shape(file.size, path, size)
    height, width = size
    rows = max(1, BAND_PIXELS // width) if file.is_large else height
    found: dict[int, tuple[int, int, int, int]] = {}
    for top in range(0, height, rows):
        window = (0, top, width, min(top + rows, height))
        band = check_label_map(file.read(window if rows < height else None).pixels, path, None)
        masks = InstanceMasks.from_label_map(band)
        for key, (x0, y0, x1, y1) in zip(_ids(band), masks.crop_boxes.tolist(), strict=True):
            old = found.get(key, (x0, y0 + top, x1, y1 + top))
            found[key] = min(x0, old[0]), min(y0 + top, old[1]), max(x1, old[2]), max(y1 + top, old[3])
    ids = sorted(found)
    return MapObjects(np.array(ids, np.uint64), np.array([found[key] for key in ids], np.int64).reshape(-1, 4))


def read_objects(path: Path, size: tuple[int, int], objects: MapObjects, window: Window) -> InstanceMasks:
    """The masks of the objects with a box that touches a window, whole, by ascending id.

    Args:
        path: the label map.
        size: (H, W) of the image.
        objects: of the label map.
        window: x0, y0, x1, y1.
    """
    x0, y0, x1, y1 = window
    boxes = objects.boxes
    near = (boxes[:, 0] < x1) & (boxes[:, 1] < y1) & (boxes[:, 2] > x0) & (boxes[:, 3] > y0)
    if not near.any():
        return InstanceMasks.empty(size)
    left, top = boxes[near, :2].min(0).tolist()
    right, bottom = boxes[near, 2:].max(0).tolist()
    part = check_label_map(ImageFile(path).read((left, top, right, bottom)).pixels, path, None)
    part = np.where(np.isin(part, objects.ids[near].astype(part.dtype)), part, part.dtype.type(0))
    return InstanceMasks.from_label_map(part).placed(size, left, top)


def _ids(label_map: np.ndarray) -> list[int]:
    """The ids in a label map, ascending."""
    ids = np.unique(label_map)
    return ids[ids != 0].tolist()
