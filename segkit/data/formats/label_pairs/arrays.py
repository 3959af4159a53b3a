"""Reads the label maps of pairs: image files of one channel or in colour, and NumPy arrays."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from segkit.data.formats.label_map_file import check_label_map, color_codes, read_samples
from segkit.utils.errors import SegkitError

MAX_ARRAY_PIXELS = 1 << 28  # of a NumPy file, whose header may claim any size
COLORS = (
    "colours usually say classes, not objects: save one number for each object, as 16-bit TIFF; if each colour is one "
    "object, set colors: true"
)
PICKLE = (
    "is a pickle (Cellpose's _seg.npy), which may run any code when it is opened, so segkit does not; save the masks as "
    "TIFF: in Cellpose's window 'File > Save masks as TIF', on its command line --save_tif"
)


def read_label_array(path: Path, size: tuple[int, int] | None = None, colors: bool = False) -> np.ndarray:
    """Reads a label map from an image file, or from an ``.npy`` file without Python objects.

    Args:
        path: of the file.
        size: expected (H, W); None: any.
        colors: whether each colour of an RGB file is one number, R + 256 G + 65536 B; black and transparent pixels are 0.
            Without it, only an RGB file without colours is read, as grey.
    Raises:
        SegkitError: as :func:`~segkit.data.formats.label_map_file.read_label_map`; an ``.npy`` file holds a pickle, such as
            Cellpose's ``_seg.npy``.
    """
    return label_values(read_stored(path), path, size, colors)


def label_values(stored: np.ndarray, path: Path, size: tuple[int, int] | None, colors: bool) -> np.ndarray:
    """The numbers [H, W] of a label map's samples; see :func:`read_label_array`."""
    if has_colors(stored):
        if not colors:
            raise SegkitError(f"{path}: a label map has one channel; this file is in colour, and {COLORS}")
        stored = color_codes(stored, path)
    elif is_rgb(stored):
        stored = stored[:, :, 0] if stored.shape[2] == 3 else np.where(stored[:, :, 3] == 0, 0, stored[:, :, 0])
    return check_label_map(stored, path, size)


def read_stored(path: Path) -> np.ndarray:
    """The samples of a label map as stored, [H, W] or [H, W, C]; see :func:`read_label_array`."""
    return _read_npy(path) if path.suffix.lower() == ".npy" else read_samples(path)


def is_rgb(stored: np.ndarray) -> bool:
    """Whether the samples have the shape of RGB or RGBA."""
    return stored.ndim == 3 and stored.shape[2] in (3, 4)


def has_colors(stored: np.ndarray) -> bool:
    """Whether the samples are RGB or RGBA and, where they are not transparent, not all grey."""
    if not is_rgb(stored):
        return False
    rgb = stored[stored[:, :, 3] != 0] if stored.shape[2] == 4 else stored
    return bool((rgb[..., 1] != rgb[..., 0]).any() or (rgb[..., 2] != rgb[..., 0]).any())


def _read_npy(path: Path) -> np.ndarray:
    if path.name.endswith("_seg.npy"):
        raise SegkitError(f"{path}: {PICKLE}")
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError("it is an archive of several arrays")
        if values.size > MAX_ARRAY_PIXELS:
            raise ValueError(f"it holds {values.size} values")
        values = np.array(values)
    except Exception as error:  # NumPy raises many types for damaged headers
        if re.search("allow_pickle|[Oo]bject", str(error)):
            raise SegkitError(f"{path}: {PICKLE}") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SegkitError(f"{path}: cannot be read as an array ({reason})") from error
    if values.dtype.kind not in "iufb" or values.dtype.itemsize > 8:
        raise SegkitError(f"{path}: holds values of type {values.dtype}; a label map holds whole numbers")
    return values.astype(np.uint8) if values.dtype.kind == "b" else values
