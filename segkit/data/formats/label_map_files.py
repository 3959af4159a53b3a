"""The label maps of the label map format: read whole, or the objects of a window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.structures.lazy_targets import Window
from segkit.structures.masks import InstanceMasks
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageFile, read_pixels

MAX_COUNTED_ID = 1 << 20  # for larger ids, sorting the pixels is faster than counting every possible id
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


def read_label_map(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads one label map, upright.

    Args:
        path: image file with one channel.
        size: expected (H, W); None: any.
    Returns:
        Integers ``[H, W]``: 0 is background, each other value is one object.
    Raises:
        SegkitError: the file is unreadable, a stack, in colour or of another size, or has values that are negative,
            fractional or not finite.
    """
    return _checked(read_pixels(path), path, size)


def find_objects(path: Path, size: tuple[int, int]) -> MapObjects:
    """The objects of a label map and their boxes, read in bands of rows.

    Args:
        path: image file with one channel.
        size: expected (H, W).
    Raises:
        SegkitError: as :func:`read_label_map`.
    """
    file = ImageFile(path)
    _check_shape(file.size, path, size)
    height, width = size
    rows = max(1, BAND_PIXELS // width) if file.is_large else height
    found: dict[int, tuple[int, int, int, int]] = {}
    for top in range(0, height, rows):
        window = (0, top, width, min(top + rows, height))
        band = _checked(file.read(window if rows < height else None).pixels, path, None)
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
    part = _checked(ImageFile(path).read((left, top, right, bottom)).pixels, path, None)
    part = np.where(np.isin(part, objects.ids[near].astype(part.dtype)), part, part.dtype.type(0))
    return InstanceMasks.from_label_map(part).placed(size, left, top)


def _ids(label_map: np.ndarray) -> list[int]:
    """The ids in a label map, ascending."""
    ids = np.unique(label_map)
    return ids[ids != 0].tolist()


def _check_shape(found: tuple[int, ...], path: Path, size: tuple[int, int] | None) -> None:
    if size is not None and tuple(found) != tuple(size):
        height, width = found
        turned = (width, height) == tuple(size)
        raise SegkitError(
            f"{path}: the label map is {width} x {height} pixels, but its image is {size[1]} x {size[0]} pixels"
            + ("; images are read upright: one of the two may have an orientation tag that the other lacks" * turned)
        )


def _checked(label_map: np.ndarray, path: Path, size: tuple[int, int] | None) -> np.ndarray:
    """The integers of a label map; raises as :func:`read_label_map`."""
    if label_map.ndim != 2:
        raise SegkitError(f"{path}: a label map has one channel; this file has the shape {label_map.shape}")
    _check_shape(label_map.shape, path, size)
    if label_map.dtype.kind == "f":
        is_whole = np.isfinite(label_map) & (label_map == np.rint(label_map))
        if not is_whole.all():
            wrong = label_map[~is_whole][0]
            raise SegkitError(f"{path}: a label map holds whole numbers, 0 for background; this one holds {wrong:g}")
    if label_map.size and label_map.min() < 0:
        raise SegkitError(f"{path}: a label map holds no negative numbers; this one holds {label_map.min():g}")
    return label_map if label_map.dtype.kind in "iu" else label_map.astype(np.int64)


def count_objects(path: Path) -> int:
    """Number of objects in a label map: its different non-zero values."""
    file = ImageFile(path)
    if file.is_large:
        return len(find_objects(path, file.size).ids)
    ids = read_label_map(path).ravel()
    if ids.size == 0:
        return 0
    if ids.max() < MAX_COUNTED_ID:
        return int(np.count_nonzero(np.bincount(ids.astype(np.int64))[1:]))
    return int(np.count_nonzero(np.unique(ids)))
