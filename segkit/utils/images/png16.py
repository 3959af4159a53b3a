"""Reads PNG files of 16-bit colour, or of 16-bit grey with alpha, with Pillow.

Pillow keeps only the high bytes of such samples, and no public function changes that. So ``_decode_as`` sets two
attributes that Pillow does not document: ``Image._mode`` and ``Image.tile``. The guard is ``_works``: once a process, it
decodes a PNG of known samples in this way. If the result is wrong, such files are refused with a message that names the
version of Pillow.
"""

from __future__ import annotations

import functools
import io
import os
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from PIL import Image

# Pillow's raw modes that decode the high bytes, and the low bytes, of a 16-bit PNG's samples.
HIGH_AND_LOW = {"RGB;16B": ("RGB;16B", "RGB;16L"), "RGBA;16B": ("RGBA;16B", "RGBA;16L")}
LAYOUTS = (*HIGH_AND_LOW, "LA;16B")  # the raw modes of the PNG files that this module reads
MORE_THAN_8_BITS = "it has more than 8 bits a channel, of which Pillow reads 8"


def read_png16(image: Image.Image, path: str | os.PathLike[str], layout: str) -> np.ndarray:
    """Decodes an open PNG of one of ``LAYOUTS``.

    Args:
        image: opened, not decoded yet.
        path: of the file, which is opened a second time.
        layout: Pillow's raw mode of the image.
    Returns:
        uint16 ``[H, W, C]``.
    Raises:
        SegkitError: this version of Pillow works differently.
    """
    from PIL import Image, __version__

    if not _works(layout):
        raise SegkitError(
            f"{path}: {MORE_THAN_8_BITS}; segkit cannot read the rest with Pillow {__version__}: save the file as TIFF, "
            "or install another version of Pillow"
        )
    with Image.open(path) as reopened:
        return _decode_both_bytes(image, reopened, layout)


def _decode_both_bytes(image: Image.Image, reopened: Image.Image, layout: str) -> np.ndarray:
    """Decodes a PNG that is opened twice: once for the high bytes, once for the low bytes."""
    if layout == "LA;16B":  # four bytes a pixel, as in 8-bit RGBA
        both = _decode_as(image, "RGBA", "RGBA").astype(np.uint16)
        return both[:, :, ::2] << 8 | both[:, :, 1::2]
    mode = layout.split(";")[0]
    high, low = (_decode_as(i, mode, name) for i, name in zip((image, reopened), HIGH_AND_LOW[layout], strict=True))
    return high.astype(np.uint16) << 8 | low


@functools.cache
def _works(layout: str) -> bool:
    """Whether this version of Pillow decodes a PNG of known samples correctly."""
    from PIL import Image

    channels, color = {"LA;16B": (2, 4), "RGB;16B": (3, 2), "RGBA;16B": (4, 6)}[layout]
    samples = (0x0102 + 0x0304 * np.arange(2 * channels)).astype(">u2")
    header = struct.pack(">IIBBBBB", 2, 1, 16, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + samples.tobytes())), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    try:
        with Image.open(io.BytesIO(data)) as image, Image.open(io.BytesIO(data)) as reopened:
            return np.array_equal(_decode_both_bytes(image, reopened, layout).ravel(), samples)
    except Exception:  # any error means that this Pillow works differently
        return False


def _decode_as(image: Any, mode: str, layout: str) -> np.ndarray:
    """Decodes an open image under another mode and raw mode of as many bits a pixel."""
    image._mode = mode
    image.tile = [(kind, box, offset, layout) for kind, box, offset, _ in image.tile]
    return np.array(image)
