"""Reads label maps: image files, or NumPy arrays, with one number for each object."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from segkit.utils.errors import SegkitError
from segkit.utils.images import read_pixels

MAX_COUNTED_ID = 1 << 20  # for larger ids, sorting the pixels is faster than counting every possible id
MAX_ARRAY_PIXELS = 1 << 28  # of a NumPy file, whose header may claim any size
COLORS = (
    "colours usually say classes, not objects: save one number for each object, as 16-bit TIFF; if each colour is one "
    "object, set colors: true"
)


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
    label_map = read_pixels(path)
    return check_label_map(label_map, path, size)


def read_label_array(path: Path, size: tuple[int, int] | None = None, colors: bool = False) -> np.ndarray:
    """Reads a label map from an image file, or from an ``.npy`` file without Python objects.

    Args:
        path: of the file.
        size: expected (H, W); None: any.
        colors: whether each colour of an RGB file is one number, R + 256 G + 65536 B; black and transparent pixels are 0.
    Raises:
        SegkitError: as :func:`read_label_map`; an ``.npy`` file holds a pickle, such as Cellpose's ``_seg.npy``.
    """
    if path.suffix.lower() != ".npy":
        pixels = read_pixels(path)
        if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
            if not colors:
                raise SegkitError(f"{path}: a label map has one channel; this file is in colour, and {COLORS}")
            pixels = color_codes(pixels, path)
        return check_label_map(pixels, path, size)
    if path.name.endswith("_seg.npy"):
        raise SegkitError(f"{path}: {pickle_hint()}")
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError("it is an archive of several arrays")
        if values.size > MAX_ARRAY_PIXELS:
            raise ValueError(f"it holds {values.size} values")
        values = np.array(values)
    except Exception as error:  # NumPy raises many types for damaged headers
        if re.search("allow_pickle|[Oo]bject", str(error)):
            raise SegkitError(f"{path}: {pickle_hint()}") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SegkitError(f"{path}: cannot be read as an array ({reason})") from error
    if values.dtype.kind not in "iufb" or values.dtype.itemsize > 8:
        raise SegkitError(f"{path}: holds values of type {values.dtype}; a label map holds whole numbers")
    return check_label_map(values.astype(np.uint8) if values.dtype.kind == "b" else values, path, size)


def color_codes(pixels: np.ndarray, path: Path) -> np.ndarray:
    """The number of each pixel's colour, R + 256 G + 65536 B.

    Args:
        pixels: uint8 [H, W, 3 or 4].
        path: for messages.
    Returns:
        int32 [H, W]; 0 where an alpha channel is 0.
    Raises:
        SegkitError: another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise SegkitError(f"{path}: expected RGB of 8 bits; this file has the shape {pixels.shape} of {pixels.dtype}")
    codes = pixels[:, :, 0].astype(np.int32)
    codes += pixels[:, :, 1].astype(np.int32) << 8
    codes += pixels[:, :, 2].astype(np.int32) << 16
    if pixels.shape[2] == 4:
        codes[pixels[:, :, 3] == 0] = 0
    return codes


def pickle_hint() -> str:
    """Why Cellpose's ``_seg.npy`` is not read, and how to save its masks; the end of a message."""
    return (
        "is a pickle (Cellpose's _seg.npy), which may run any code when it is opened, so segkit does not; save the masks "
        "as TIFF: in Cellpose's window 'File > Save masks as TIF', on its command line --save_tif"
    )


def check_label_map(label_map: np.ndarray, path: Path, size: tuple[int, int] | None) -> np.ndarray:
    """The pixels of a label map as integers; raises the errors of :func:`read_label_map`."""
    if label_map.ndim != 2:
        raise SegkitError(f"{path}: a label map has one channel; this file has the shape {label_map.shape}")
    check_shape(label_map.shape, path, size)
    if label_map.dtype.kind == "f":
        is_whole = np.isfinite(label_map) & (label_map == np.rint(label_map))
        if not is_whole.all():
            wrong = label_map[~is_whole][0]
            raise SegkitError(f"{path}: a label map holds whole numbers, 0 for background; this one holds {wrong:g}")
        if label_map.size and float(label_map.max()) >= 2.0**63:
            raise SegkitError(f"{path}: holds {label_map.max():g}; the numbers of a label map have at most 63 bits")
    if label_map.size and label_map.min() < 0:
        raise SegkitError(f"{path}: a label map holds no negative numbers; this one holds {label_map.min():g}")
    return label_map if label_map.dtype.kind in "iu" else label_map.astype(np.int64)


def check_shape(found: tuple[int, ...], path: Path, size: tuple[int, int] | None) -> None:
    """Raises a SegkitError if a label map has another (H, W) than its image; ``size`` None: any."""
    if size is not None and tuple(found) != tuple(size):
        height, width = found
        turned = (width, height) == tuple(size)
        raise SegkitError(
            f"{path}: the label map is {width} x {height} pixels, but its image is {size[1]} x {size[0]} pixels"
            + ("; images are read upright: one of the two may have an orientation tag that the other lacks" * turned)
        )


def count_objects(path: Path) -> int:
    """Number of objects in a label map: its different non-zero values."""
    return count_values(read_label_map(path))


def count_values(label_map: np.ndarray) -> int:
    """Number of different non-zero values of a label map."""
    ids = label_map.ravel()
    if ids.size == 0:
        return 0
    if ids.max() < MAX_COUNTED_ID:
        return int(np.count_nonzero(np.bincount(ids.astype(np.int64))[1:]))
    return int(np.count_nonzero(np.unique(ids)))
