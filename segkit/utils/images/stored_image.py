"""An image as its file stores it, and the conversion of its samples to 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from segkit.utils.errors import SegkitError

PERCENTILES = (0.1, 99.9)  # mapped to 0 and 255 where a file has more than 8 bits a sample
LIMIT_HINT = "; the limit is twice PIL.Image.MAX_IMAGE_PIXELS: cut the image into tiles, or raise MAX_IMAGE_PIXELS"
COLOR_CHANNELS = {"grey": 1, "white_is_zero": 1, "palette": 1, "rgb": 3, "cmyk": 4}
ORIENTATION_TAG = 0x0112  # of EXIF and TIFF
Extra = Literal["alpha", "premultiplied", "unknown", "varying"]


@dataclass(frozen=True)
class StoredImage:
    """The samples of an image file, and their meaning.

    Attributes:
        pixels: ``[H, W]`` or ``[H, W, C]``, as stored: not scaled, not inverted, not upright.
        color: colour space of the first channels: a key of ``COLOR_CHANNELS``; ``channels`` for channels without a colour
            meaning; or the name of one that segkit cannot convert.
        bits: bits of a sample, at most those of the array's type.
        palette: uint8 ``[N, 3]`` RGB, if ``color`` is ``palette``.
        extra: meaning of each channel after the colour channels. ``unknown``: not marked in the file, taken for alpha if it
            is constant; ``varying``: not marked, and known not to be constant.
        orientation: 1 to 8, as in EXIF.
        channel_names: name of each channel, if the file states them.
    """

    pixels: np.ndarray
    color: str
    bits: int
    palette: np.ndarray | None = None
    extra: tuple[Extra, ...] = ()
    orientation: int = 1
    channel_names: tuple[str, ...] = ()


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """A view of ``[H, W, ...]`` with an EXIF orientation applied.

    Values outside 2 to 8 change nothing.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]


def upright_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Height and width after an EXIF orientation is applied."""
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def to_uint8(image: StoredImage, name: str) -> np.ndarray:
    """Converts a stored image to 8-bit grey or RGB, upright.

    Colours are those of :func:`grey_or_rgb`. Grey of fewer than 8 bits is spread over 0..255. Samples of more than 8 bits,
    signed samples and floats are scaled by :func:`scale_to_uint8`, all colour channels by the same factor.

    Args:
        image: the file's content.
        name: the file, for messages.
    Returns:
        uint8, upright: ``[H, W]`` grey or ``[H, W, 3]`` RGB.
    Raises:
        SegkitError: a colour space that segkit cannot convert; a channel of unknown meaning that is not constant.
    """
    color, bits = grey_or_rgb(image, name)
    if color.dtype.kind != "u" or bits > 8:
        color = scale_to_uint8(color, name)
    else:
        color = spread_to_uint8(color, bits)
    color = upright(color, image.orientation)
    return color[:, :, 0] if color.shape[2] == 1 else color


def grey_or_rgb(image: StoredImage, name: str) -> tuple[np.ndarray, int]:
    """The colours as stored, ``[H, W, 1]`` grey or ``[H, W, 3]`` RGB, and their bits.

    Alpha is dropped.

    Raises:
        SegkitError: a colour space that segkit cannot convert; a channel of unknown meaning that is not constant.
    """
    if image.color == "channels":
        names = f" ({', '.join(image.channel_names)})" if image.channel_names else ""
        raise SegkitError(
            f"{name}: has {image.pixels.shape[2]} channels{names}; expected one (grey) or three (RGB): {_choose(image)}",
            key="data.channels",
        )
    if image.color not in COLOR_CHANNELS:
        raise SegkitError(
            f"{name}: its colours are {image.color}, which segkit does not convert; save it as RGB or grey"
        )
    unknown = _unknown_channel(image)
    if unknown is not None:
        raise SegkitError(
            f"{name}: has {image.pixels.shape[2]} channels, and channel {unknown + 1} is marked neither as colour nor as "
            f"alpha; expected grey or RGB, with or without alpha: {_choose(image)}",
            key="data.channels",
        )
    return convert_colors(image, name)


def _choose(image: StoredImage) -> str:
    """What to set for an image of several channels."""
    return f"choose channels (data.channels: [0, 1], or all with model.backbone.in_channels: {image.pixels.shape[2]})"


def convert_colors(image: StoredImage, name: str) -> tuple[np.ndarray, int]:
    """The colours of :func:`grey_or_rgb`, without a check of the further channels.

    The colour space is one of ``COLOR_CHANNELS``. Palettes are looked up, "white is zero" is inverted, premultiplied
    colours are divided by their alpha, CMYK is converted without a colour profile.
    """
    pixels = image.pixels if image.pixels.ndim == 3 else image.pixels[:, :, None]
    channels, bits = COLOR_CHANNELS[image.color], image.bits
    color = pixels[:, :, :channels]
    if image.palette is not None:
        color, bits = _apply_palette(color[:, :, 0], image.palette, name), 8
    if "premultiplied" in image.extra:
        color = _unpremultiply(color, pixels[:, :, channels + image.extra.index("premultiplied")], bits)
    if image.color == "white_is_zero":
        color = _invert(color, bits)
    if image.color == "cmyk":
        color = _cmyk_to_rgb(color, _full_scale(color.dtype, bits))
    return color, bits


def spread_to_uint8(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Spreads unsigned samples of at most 8 bits over 0..255."""
    if bits == 8:
        return pixels
    return np.rint(pixels * np.float32(255 / _full_scale(pixels.dtype, bits))).astype(np.uint8)


def scale_to_uint8(pixels: np.ndarray, name: str) -> np.ndarray:
    """Scales the 0.1 and 99.9 percentiles to 0 and 255 and clips the rest.

    A constant image becomes 0.

    Args:
        pixels: of any shape, integers or floats of any range.
        name: the file, for messages.
    """
    scaled = pixels.astype(np.float32 if pixels.dtype.itemsize < 4 else np.float64)
    if not np.isfinite(scaled).all():
        raise SegkitError(f"{name}: the image holds NaN or infinite samples")
    if scaled.dtype == np.float64 and scaled.size and (peak := np.abs(scaled).max()) > 1e150:
        scaled /= peak  # so that differences do not overflow
    low, high = (float(v) for v in np.percentile(scaled, PERCENTILES))
    if high <= low:  # fewer than 0.1 % of the pixels differ from the rest: use the full range
        low, high = float(scaled.min()), float(scaled.max())
    if high <= low:
        return np.zeros(scaled.shape, np.uint8)
    scaled -= low
    scaled *= 255.0 / (high - low)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def check_pixels(path: str | Path, pixels: int) -> None:
    """Raises a SegkitError if an image has more pixels than Pillow accepts.

    Pillow checks only the formats that it decodes; this check applies to all of them.
    """
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS is not None and pixels > 2 * Image.MAX_IMAGE_PIXELS:
        raise SegkitError(f"{path}: has {pixels:,} pixels{LIMIT_HINT}", value=str(path))


def is_grey_or_rgb(image: StoredImage) -> bool:
    """Whether an image has no channels but those of its colours, alpha and constant ones."""
    return image.color != "channels" and _unknown_channel(image) is None


def judged_channels(image: StoredImage) -> tuple[Extra, ...]:
    """``image.extra`` with ``alpha`` or ``varying`` in place of ``unknown``.

    A window of a large image is judged by a sample of the whole.
    """
    first = COLOR_CHANNELS.get(image.color, 0)

    def judged(index: int, meaning: Extra) -> Extra:
        if meaning != "unknown":
            return meaning
        channel = image.pixels[:, :, index]
        return "varying" if channel.size and (channel != channel.flat[0]).any() else "alpha"

    return tuple(judged(index, meaning) for index, meaning in enumerate(image.extra, first))


def _unknown_channel(image: StoredImage) -> int | None:
    """Index of the first channel that is neither colour nor alpha and not constant."""
    judged = judged_channels(image)
    return COLOR_CHANNELS.get(image.color, 0) + judged.index("varying") if "varying" in judged else None


def _apply_palette(indices: np.ndarray, palette: np.ndarray, name: str) -> np.ndarray:
    """Colours ``[H, W, 3]`` of palette indices ``[H, W]``.

    Indices beyond the palette are black, as in other decoders.
    """
    if indices.dtype.kind != "u":
        raise SegkitError(f"{name}: has a palette, but its pixels are {indices.dtype}, not unsigned integers")
    highest = int(indices.max()) if indices.size else 0
    if highest >= len(palette):
        palette = np.concatenate([palette, np.zeros((highest + 1 - len(palette), 3), np.uint8)])
    return palette[indices]


def _full_scale(dtype: np.dtype, bits: int) -> float:
    """The sample value of full intensity or full opacity."""
    return 1.0 if dtype.kind == "f" else float(2 ** (bits - (dtype.kind == "i")) - 1)


def _invert(color: np.ndarray, bits: int) -> np.ndarray:
    """Exchanges black and white."""
    if color.dtype.kind == "u":
        return np.array(2**bits - 1, color.dtype) - color
    return ~color if color.dtype.kind == "i" else -color


def _unpremultiply(color: np.ndarray, alpha: np.ndarray, bits: int) -> np.ndarray:
    """Divides premultiplied colours by their alpha; fully transparent pixels become black.

    Integer types stay.
    """
    full = _full_scale(color.dtype, bits)
    opacity = alpha[:, :, None].astype(np.float64)
    plain = np.divide(color * full, opacity, out=np.zeros(color.shape), where=opacity > 0)
    if color.dtype.kind == "f":
        return plain
    return np.rint(np.clip(plain, 0, full)).astype(color.dtype)


def _cmyk_to_rgb(color: np.ndarray, full: float) -> np.ndarray:
    """Converts CMYK to RGB without a colour profile, as Pillow does.

    The formula is ``(full - ink) * (full - black) / full``.
    """
    ink = color.astype(np.float32 if color.dtype.itemsize < 4 else np.float64)
    light = (full - ink[:, :, :3]) * ((full - ink[:, :, 3:]) / full)
    return light if color.dtype.kind == "f" else np.rint(light).astype(color.dtype)
