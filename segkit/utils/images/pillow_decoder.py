"""Reads image files with Pillow, and undoes or refuses the changes that Pillow makes to their samples.

Pillow returns at most 8 bits a channel for colour images and for grey with alpha. No public function changes that, so
``_decode_as`` sets two attributes that Pillow does not document: ``Image._mode`` and ``Image.tile``. The guard is
``_decodes_deep_png``: it decodes a PNG of known samples once a process, and where the result differs, the file is
refused with a message that names Pillow's version. ``tile`` is otherwise only read, and a missing one means "decoded
already".
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
from segkit.utils.images.stored_image import ORIENTATION_TAG, Extra, StoredImage, check_pixels, to_uint8
from segkit.utils.images.tiff import read_tiff

if TYPE_CHECKING:
    from PIL import Image

# Formats whose first frame is the image, and whose other frames are variants or layers of it.
PRIMARY_FIRST = ("MPO", "PSD")
COLORS = {"1": "grey", "L": "grey", "P": "palette", "RGB": "rgb", "CMYK": "cmyk", "F": "grey", "I": "grey"}
WITH_ALPHA: dict[str, tuple[str, Extra]] = {
    "LA": ("grey", "alpha"),
    "La": ("grey", "premultiplied"),
    "RGBA": ("rgb", "alpha"),
    "RGBa": ("rgb", "premultiplied"),
    "RGBX": ("rgb", "unknown"),
    "PA": ("palette", "alpha"),
}
# Pillow's raw modes that decode the high bytes, and the low bytes, of a 16-bit PNG's samples.
HIGH_AND_LOW = {"RGB;16B": ("RGB;16B", "RGB;16L"), "RGBA;16B": ("RGBA;16B", "RGBA;16L")}
MORE_THAN_8_BITS = "it has more than 8 bits a channel, of which Pillow reads 8"
GREY_SPREAD = {2: 85, 4: 17}  # Pillow multiplies grey samples of 2 and 4 bits by these factors


def read_with_pillow(path: str | os.PathLike[str]) -> StoredImage:
    """Reads the image of a file in any format that Pillow decodes, except TIFF.

    TIFF has its own reader, :mod:`segkit.utils.images.tiff`, because Pillow changes samples of many TIFFs.

    Raises:
        SegkitError: several frames; samples that Pillow cannot return as they are stored.
        Exception: the file is damaged, or not an image.
    """
    from PIL import Image

    with Image.open(path) as image:
        check_pixels(str(path), image.width * image.height)
        refuse_frames(image, str(path))
        layout, depth = _layout(image), _png_depth(image)
        if image.format == "PNG" and layout in (*HIGH_AND_LOW, "LA;16B"):
            return _read_deep_png(image, path, layout)
        if (reason := what_pillow_loses(image)) is not None:
            raise SegkitError(f"{path}: {reason}; save it as 16-bit PNG or TIFF")
        pixels = np.array(image)
        orientation = orientation_of(image)
        if image.mode in WITH_ALPHA:
            color, extra = WITH_ALPHA[image.mode]
            return StoredImage(pixels, color, 8, _palette(image), (extra,), orientation)
        color, bits = COLORS.get(image.mode, image.mode), pixels.dtype.itemsize * 8
        if image.mode == "1":
            pixels, bits = pixels.astype(np.uint8), 1
        elif image.mode == "L" and depth in GREY_SPREAD:
            pixels, rest = np.divmod(pixels, np.uint8(GREY_SPREAD[depth]))
            if rest.any():
                raise SegkitError(
                    f"{path}: this version of Pillow does not scale grey of {depth} bits by {GREY_SPREAD[depth]}; save "
                    "it as TIFF"
                )
            bits = depth
        elif image.mode.startswith("I;16") or (image.mode == "I" and (depth == 16 or layout == "I;16B")):
            pixels, color, bits = pixels.astype(np.uint16), "grey", 16
        return StoredImage(pixels, color, bits, _palette(image), (), orientation)


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of an open image, 1 to 8; 1 if it has none, or its EXIF data are damaged."""
    from PIL import Image

    try:
        # PngImageFile.getexif decodes the whole image, in case EXIF data follow the pixels.
        head_is_enough = image.format == "PNG" and not _metadata_after_pixels(image)
        exif = Image.Image.getexif(image) if head_is_enough else image.getexif()
        value = exif.get(ORIENTATION_TAG, 1)
    except Exception:  # Pillow parses EXIF data as a TIFF, and raises errors of many types
        return 1
    return int(value) if value in range(1, 9) else 1


def _metadata_after_pixels(image: Image.Image) -> bool:
    """Whether a PNG has EXIF or text chunks after its pixels, is damaged, or is decoded already."""
    file: Any = getattr(image, "fp", None)
    if file is None or not getattr(image, "tile", None):
        return True
    position, after_pixels = file.tell(), False
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            after_pixels = after_pixels or head[4:] == b"IDAT"
            if after_pixels and head[4:] in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
        return head[4:] != b"IEND"
    finally:
        file.seek(position)


def opened_tiff(image: Image.Image) -> np.ndarray | None:
    """Reads a TIFF that Pillow has opened but not decoded, as :func:`read_image` reads the file.

    Returns:
        uint8 ``[H, W, 3]``. None if the image is not such a TIFF; None for a file of several pages, where the caller
        means Pillow's current page.
    """
    opened: Any = image
    file = getattr(image, "fp", None)
    if image.format != "TIFF" or not getattr(image, "tile", None) or file is None or opened.is_animated:
        return None
    position = file.tell()
    try:
        file.seek(0)
        pixels = to_uint8(read_tiff(file, "a PIL image"), "a PIL image")
    except SegkitError:
        raise
    except Exception as error:  # decoders raise errors of many types
        raise SegkitError(f"a PIL image cannot be read ({error})") from error
    finally:
        file.seek(position)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def load_upright(image: Image.Image) -> None:
    """Decodes an open image without a known defect of Pillow.

    Pillow turns TIFFs upright when it decodes them and removes their orientation tag; other formats keep theirs. A grey
    TIFF that Pillow maps into memory comes out sheared if the orientation swaps its sides. Without a file name Pillow
    reads the file instead of mapping it.
    """
    name = getattr(image, "filename", None)
    if image.format != "TIFF" or not name or not getattr(image, "tile", None):
        image.load()
        return
    opened: Any = image
    opened.filename = ""
    try:
        opened.load()
    finally:
        opened.filename = name


def refuse_frames(image: Image.Image, name: str) -> None:
    """Raises a SegkitError if a file is an animation or a stack. MPO and PSD have one primary image."""
    if image.format in PRIMARY_FIRST:
        return
    frames = getattr(image, "n_frames", 1) if getattr(image, "is_animated", False) else 1
    if frames > 1:
        raise SegkitError(f"{name}: holds {frames} frames; expected one image")


def what_pillow_loses(image: Image.Image) -> str | None:
    """Why Pillow would change the samples of an image on decoding; None if it would not, or has decoded it already."""
    layout = _layout(image)
    tile: Any = image.tile[0] if getattr(image, "tile", None) else None  # type: ignore[attr-defined]
    if tile is None:
        return None
    arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
    if image.format == "TIFF" and "X" in layout and getattr(image, "tag_v2", {}).get(262) != 6:  # YCbCr comes as RGBX
        return "it has a channel that is neither colour nor alpha, which Pillow drops"
    if image.format == "SGI" and (tile[0] == "SGI16" or arguments[-1] == 2):
        return MORE_THAN_8_BITS
    if image.format == "PPM" and str(tile[0]).startswith("ppm"):
        highest = arguments[1]
        if image.mode == "RGB" and highest > 255:
            return MORE_THAN_8_BITS
        if highest not in (1, 255, 65535):
            return f"its samples go up to {highest}, and Pillow scales them"
    if image.format in ("JPEG2000", "AVIF") and (reason := _codec_depth(image)) is not None:
        return reason
    if ";16" in layout and not image.mode.startswith("I") and not layout.startswith("BGR;16"):  # BGR;16: 5, 6, 5 bits
        return MORE_THAN_8_BITS
    return None


def _codec_depth(image: Image.Image) -> str | None:
    """Why Pillow would change a JPEG 2000 or AVIF file of this bit depth, which is read from its first bytes."""
    file: Any = getattr(image, "fp", None)
    if file is None:
        return None
    position = file.tell()
    file.seek(0)
    head = file.read(1 << 16)
    file.seek(position)
    if image.format == "AVIF":
        at = head.find(b"av1C")
        return MORE_THAN_8_BITS if at >= 0 and head[at + 6] & 0x40 else None
    at = head.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(head) < at + 42:
        return None
    count = int.from_bytes(head[at + 40 : at + 42], "big")
    depths = set(head[at + 42 : at + 42 + 3 * count : 3])
    if all(value == 7 for value in depths) or (count == 1 and depths == {15}):  # bits - 1; the highest bit: signed
        return None
    signed = " signed" if max(depths) & 0x80 else ""
    return (
        f"its channels have {', '.join(str((v & 0x7F) + 1) for v in sorted(depths))}{signed} bits, which Pillow changes"
    )


def _layout(image: Image.Image) -> str:
    """Pillow's raw mode of the pixels in the file; empty if they are decoded already."""
    tiles: Any = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _png_depth(image: Image.Image) -> int:
    """Bits a sample, from a PNG file's header; 0 for other formats."""
    file: Any = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return 0
    position = file.tell()
    file.seek(0)
    head = file.read(25)
    file.seek(position)
    return int(head[24])


def _read_deep_png(image: Image.Image, path: str | os.PathLike[str], layout: str) -> StoredImage:
    """Reads a PNG of 16-bit colour or 16-bit grey with alpha, of which Pillow keeps only the high bytes."""
    from PIL import Image, __version__

    if not _decodes_deep_png(layout):
        raise SegkitError(
            f"{path}: {MORE_THAN_8_BITS}; segkit cannot read the rest with Pillow {__version__}: save the file as TIFF, "
            "or install another version of Pillow"
        )
    with Image.open(path) as reopened:
        pixels = _decode_both_bytes(image, reopened, layout)
    color = "grey" if layout == "LA;16B" else "rgb"
    extra: tuple[Extra, ...] = () if layout == "RGB;16B" else ("alpha",)
    return StoredImage(pixels, color, 16, None, extra, orientation_of(image))


def _decode_both_bytes(image: Image.Image, reopened: Image.Image, layout: str) -> np.ndarray:
    """Decodes a 16-bit PNG, opened twice: once for the high bytes, once for the low bytes. uint16 ``[H, W, C]``."""
    if layout == "LA;16B":  # four bytes a pixel, as in 8-bit RGBA
        both = _decode_as(image, "RGBA", "RGBA").astype(np.uint16)
        return both[:, :, ::2] << 8 | both[:, :, 1::2]
    mode = layout.split(";")[0]
    high, low = (_decode_as(i, mode, name) for i, name in zip((image, reopened), HIGH_AND_LOW[layout], strict=True))
    return high.astype(np.uint16) << 8 | low


@functools.cache
def _decodes_deep_png(layout: str) -> bool:
    """Whether ``_decode_both_bytes`` works with this version of Pillow: it decodes a PNG of known samples."""
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
    """Decodes an open image under another mode and raw mode of equally many bits a pixel.

    Sets undocumented attributes of Pillow (see the module); ``_decodes_deep_png`` checks first that this works.
    """
    image._mode = mode
    image.tile = [(kind, box, offset, layout) for kind, box, offset, _ in image.tile]
    return np.array(image)


def _palette(image: Image.Image) -> np.ndarray | None:
    """The palette of an image as uint8 ``[N, 3]`` RGB; None if it has none."""
    if image.mode not in ("P", "PA"):
        return None
    return np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
