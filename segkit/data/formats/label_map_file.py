"""Reads label maps: image files with one number for each object."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segkit.utils.errors import SegkitError
from segkit.utils.images import read_pixels

MAX_COUNTED_ID = 1 << 20  # for larger ids, sorting the pixels is faster than counting every possible id
JPEG_SUFFIXES, JPEG_START = (".jpg", ".jpeg"), b"\xff\xd8\xff"


def read_label_map(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads one label map, upright.

    Args:
        path: image file with one channel.
        size: expected (H, W); None: any.
    Returns:
        Integers ``[H, W]``: 0 is background, each other value is one object.
    Raises:
        SegkitError: the file is unreadable, JPEG, a stack, in colour or of another size, or has values that are negative,
            fractional or not finite.
    """
    return check_label_map(read_samples(path), path, size)


def read_samples(path: Path) -> np.ndarray:
    """The samples of a label map or mask as its file stores them, upright: [H, W] or [H, W, C].

    Raises:
        SegkitError: the file is unreadable, or a JPEG, whose samples are not those that were saved.
    """
    refuse_jpeg(path, look_inside=True)
    return read_pixels(path)


def refuse_jpeg(path: Path, look_inside: bool = False) -> None:
    """Raises a SegkitError for a mask or label map in a JPEG file.

    Args:
        path: of the file.
        look_inside: whether the file is opened, since it may be a JPEG of another suffix.
    """
    is_jpeg = path.suffix.lower() in JPEG_SUFFIXES
    if look_inside and not is_jpeg and path.is_file():
        with path.open("rb") as file:
            is_jpeg = file.read(len(JPEG_START)) == JPEG_START
    if is_jpeg:
        raise SegkitError(
            f"{path}: is a JPEG, whose values are not those that were saved, so that its objects are lost: export it "
            "again as PNG or TIFF, or threshold it at 127 if it is black and white"
        )


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
