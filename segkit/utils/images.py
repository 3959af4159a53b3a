"""Image files in and out: whatever a file holds, the caller gets 8-bit RGB (label maps: the file's own numbers)."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from segkit.utils.errors import SegkitError
from segkit.utils.path_hints import why_unusable

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")
_LIMIT_HINT = "; more than twice PIL.Image.MAX_IMAGE_PIXELS are not read: cut it into tiles, or raise that limit"
PERCENTILES = (0.1, 99.9)  # what becomes black and white where a file has more than 8 bits


def is_image_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file's name ends like an image's."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def read_image(path: str | os.PathLike[str]) -> torch.Tensor:
    """Read an image file as RGB, upright (EXIF orientation applied).

    Grey images get three equal channels, palettes are looked up, alpha is dropped. More than 8 bits a channel are
    scaled so that the file's 0.1 and 99.9 percentiles become black and white.

    Returns:
        uint8 ``[3, H, W]``, a view of pixels that lie as in files, channels last: resizing is twice as fast so.
    Raises:
        SegkitError: the file is missing or no readable image; the message names it and the reason.
    """
    pixels = _read(path, as_rgb=True)
    if pixels.dtype != np.uint8:
        pixels = scale_to_uint8(pixels, str(path))
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] in (1, 2):  # grey, grey with alpha
        pixels = np.repeat(pixels[:, :, :1], 3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(pixels[:, :, :3])).permute(2, 0, 1)


def read_pixels(path: str | os.PathLike[str]) -> np.ndarray:
    """The numbers that a file stores, ``[H, W]`` or ``[H, W, C]``, in its own type: for label maps."""
    return _read(path, as_rgb=False)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of an image as :func:`read_image` returns it; reads only the file's head where it can."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (width, height) if turned else (height, width)
    except Exception:  # whatever Pillow cannot read, the full reader reads or explains
        return tuple(read_image(path).shape[1:])  # type: ignore[return-value]


def write_image(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Write uint8 ``[H, W, 3]`` RGB (or ``[H, W]`` grey); the format follows the name, the folder is made."""
    from PIL import Image

    assert pixels.dtype == np.uint8, pixels.dtype
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def scale_to_uint8(pixels: np.ndarray, name: str) -> np.ndarray:
    """Numbers of any range to 0..255, the 0.1 and 99.9 percentiles becoming 0 and 255; a flat image becomes 0."""
    values = pixels.astype(np.float32)
    if not np.isfinite(values).all():
        raise SegkitError(f"{name}: the image holds values that are not finite")
    low, high = np.percentile(values, PERCENTILES)
    if high <= low:  # nearly flat: the percentiles miss what little there is
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _read(path: str | os.PathLike[str], as_rgb: bool) -> np.ndarray:
    from PIL import Image, ImageOps

    if problem := _unusable(path):
        raise SegkitError(f"{path}: {problem}", value=str(path))
    try:
        with Image.open(path) as image:
            _check_pixels(path, image.width * image.height)
            if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
                raise SegkitError(f"{path}: holds {image.n_frames} pages; expected one image")
            upright = ImageOps.exif_transpose(image) if as_rgb else image
            return np.array(_rgb_if_8_bit(upright) if as_rgb else upright)
    except SegkitError:
        raise
    except Image.DecompressionBombError as error:
        raise SegkitError(f"{path}: {_short(error)}{_LIMIT_HINT}", value=str(path)) from error
    except Exception as error:  # Pillow's decoders raise many kinds; all mean that the file cannot be read
        if Path(path).suffix.lower() in (".tif", ".tiff"):
            return _read_tiff(path, reason=error)
        raise SegkitError(f"{path}: cannot be read as an image ({_short(error)})", value=str(path)) from error


def _unusable(path: str | os.PathLike[str]) -> str | None:
    """Why a path cannot be an image, before its content is looked at: no file, a folder, an empty file; None: it can."""
    if os.path.isdir(path):
        return "is a folder, not an image"
    if not os.path.isfile(path):
        problem = why_unusable(path)
        return (
            problem.replace("does not exist", "there is no such image file", 1)
            if problem.startswith("does")
            else problem
        )
    return None if os.path.getsize(path) else "cannot be read as an image (it is empty, 0 bytes)"


def _check_pixels(path: str | os.PathLike[str], pixels: int) -> None:
    """SegkitError where an image is larger than Pillow lets any be: a file of a few bytes may unfold to gigabytes.

    Pillow looks at it for the formats that it knows, here it holds for all.
    """
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS is not None and pixels > 2 * Image.MAX_IMAGE_PIXELS:
        raise SegkitError(f"{path}: has {pixels:,} pixels{_LIMIT_HINT}", value=str(path))


def _rgb_if_8_bit(image: Image.Image) -> Image.Image:
    """Colour of 8 bits as RGB, grey as it is (with its bits)."""
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "PA", "LA", "RGBA", "RGBX", "RGBa", "La", "CMYK", "YCbCr", "LAB", "HSV"):
        return image.convert("RGB")
    return image


def _read_tiff(path: str | os.PathLike[str], reason: Exception) -> np.ndarray:
    """The TIFF kinds that Pillow lacks (16-bit colour, 64-bit floats), through tifffile where it is installed."""
    try:
        import tifffile
    except ImportError:
        raise SegkitError(
            f"{path}: cannot be read as an image ({_short(reason)}); if it is a TIFF of a rarer kind (16-bit colour, "
            "64-bit floats), `pip install tifffile` may help",
            value=str(path),
        ) from reason
    try:
        with tifffile.TiffFile(path) as file:
            _check_pixels(path, math.prod(file.series[0].shape) if file.series else 0)
            pixels = np.squeeze(file.asarray())
    except SegkitError:
        raise
    except Exception as error:  # as above
        raise SegkitError(f"{path}: cannot be read as an image ({_short(error)})", value=str(path)) from error
    if pixels.size == 0:  # what tifffile makes of a damaged file
        raise SegkitError(f"{path}: cannot be read as an image ({_short(reason)})", value=str(path)) from reason
    if pixels.ndim == 3 and pixels.shape[0] in (3, 4) and pixels.shape[2] not in (3, 4):
        pixels = pixels.transpose(1, 2, 0)  # stored plane by plane
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] > 4):
        raise SegkitError(f"{path}: holds an array of shape {pixels.shape}; expected one grey or colour image")
    return pixels


def _short(error: Exception) -> str:
    """An exception's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__
