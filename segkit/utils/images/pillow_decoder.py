"""Reads image files with Pillow; undoes or refuses Pillow's changes to their samples.

``Image.tile``, an attribute that Pillow does not document, is read to learn how the pixels are stored. A missing ``tile``
means that the image is decoded already; then nothing can be checked.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from segkit.utils.errors import SegkitError
from segkit.utils.images.calibration import PixelSize, from_dots_per_inch
from segkit.utils.images.image_source import ImageSource, Window, cropped
from segkit.utils.images.png16 import LAYOUTS, MORE_THAN_8_BITS, read_png16
from segkit.utils.images.stored_image import ORIENTATION_TAG, Extra, StoredImage, check_pixels
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
        if image.format == "PNG" and layout in LAYOUTS:
            pixels = read_png16(image, path, layout)
            alpha: tuple[Extra, ...] = () if layout == "RGB;16B" else ("alpha",)
            return StoredImage(pixels, "grey" if layout == "LA;16B" else "rgb", 16, None, alpha, orientation_of(image))
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


class PillowSource(ImageSource):
    """An image of any format that Pillow decodes, except TIFF.

    A window is cut out of the decoded image.

    Args:
        path: of the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path

    @functools.cached_property
    def _header(self) -> tuple[int, int, int]:
        """Height, width and orientation."""
        from PIL import Image

        try:
            with Image.open(self._path) as image:
                refuse_frames(image, str(self._path))
                return image.height, image.width, orientation_of(image)
        except Exception:  # the full reader succeeds, or raises the error that explains the file's problem
            stored = read_with_pillow(self._path)
            return stored.pixels.shape[0], stored.pixels.shape[1], stored.orientation

    @property
    def size(self) -> tuple[int, int]:
        return self._header[:2]

    @property
    def orientation(self) -> int:
        return self._header[2]

    @property
    def pixel_size(self) -> PixelSize | None:
        from PIL import Image

        try:
            with Image.open(self._path) as image:
                return from_dots_per_inch(*image.info["dpi"])
        except Exception:  # no resolution, a damaged one, or an image that cannot be read, which read() reports
            return None

    def read(self, window: Window | None) -> StoredImage:
        return cropped(read_with_pillow(self._path), window)


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of an open image, 1 to 8.

    1 if it has none, or its EXIF data are damaged.
    """
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


def opened_tiff(image: Image.Image) -> StoredImage | None:
    """Reads a TIFF that Pillow has opened but not decoded, as its file is read.

    Returns:
        None if the image is not such a TIFF; None for a file of several pages, where the caller means Pillow's current
        page.
    """
    opened: Any = image
    file = getattr(image, "fp", None)
    if image.format != "TIFF" or not getattr(image, "tile", None) or file is None or opened.is_animated:
        return None
    position = file.tell()
    try:
        file.seek(0)
        return read_tiff(file, "a PIL image")
    except SegkitError:
        raise
    except Exception as error:  # decoders raise errors of many types
        raise SegkitError(f"a PIL image cannot be read ({error})") from error
    finally:
        file.seek(position)


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
    """Raises a SegkitError if a file is an animation or a stack.

    MPO and PSD have one primary image.
    """
    if image.format in PRIMARY_FIRST:
        return
    frames = getattr(image, "n_frames", 1) if getattr(image, "is_animated", False) else 1
    if frames > 1:
        raise SegkitError(f"{name}: holds {frames} frames; expected one image")


def what_pillow_loses(image: Image.Image) -> str | None:
    """Why Pillow would change the samples of an image on decoding.

    Returns None if it would not, or has decoded it already.
    """
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
    """Why Pillow would change a JPEG 2000 or AVIF file of this bit depth; None if it would not."""
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


def _palette(image: Image.Image) -> np.ndarray | None:
    """The palette of an image as uint8 ``[N, 3]`` RGB; None if it has none."""
    if image.mode not in ("P", "PA"):
        return None
    return np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
