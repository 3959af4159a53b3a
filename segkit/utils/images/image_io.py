"""Image files in and out: whatever a file holds, the caller gets 8-bit RGB (label maps: the file's own numbers)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from segkit.utils.errors import SegkitError
from segkit.utils.images.pillow_decoder import orientation_of, read_with_pillow, refuse_frames
from segkit.utils.images.stored_image import LIMIT_HINT, StoredImage, picture, upright, upright_size
from segkit.utils.images.tiff import is_tiff, read_tiff, tiff_size
from segkit.utils.paths.hints import why_unusable

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")


def is_image_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file's name ends like an image's."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def read_image(path: str | os.PathLike[str]) -> torch.Tensor:
    """Read an image file as RGB, upright (the orientation tag of EXIF or TIFF is applied).

    Grey images get three equal channels, palettes are looked up, alpha is dropped, CMYK is converted without a profile.
    TIFFs whose white is zero are inverted. More than 8 bits a channel are scaled so that the file's 0.1 and 99.9
    percentiles become black and white. The scaling starts from the stored numbers.

    Returns:
        uint8 ``[3, H, W]``, a view of pixels that lie as in files, channels last: resizing is twice as fast so.
    Raises:
        SegkitError: the file is missing or no readable image; it holds several images (a stack, an animation); it has a
            channel that is neither colour nor alpha; the message names it and the reason.
    """
    pixels = picture(_read(path), str(path))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def read_pixels(path: str | os.PathLike[str]) -> np.ndarray:
    """The numbers that a file stores, in its own type, upright: for label maps.

    Nothing is scaled, inverted or looked up: 4-bit samples are 0..15, of a palette the indices.

    Returns:
        ``[H, W]`` or ``[H, W, C]``; fewer bits than 8, or a width that NumPy lacks, in the next larger type.
    Raises:
        SegkitError: as :func:`read_image`, or the numbers cannot be read as they are stored.
    """
    image = _read(path)
    return np.ascontiguousarray(upright(image.pixels, image.orientation))


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of an image as :func:`read_image` returns it; reads only the file's head where it can.

    Raises:
        SegkitError: the file cannot be opened as an image, or holds several.
    """
    from PIL import Image

    try:
        if is_tiff(path):
            return tiff_size(path)
        with Image.open(path) as image:
            refuse_frames(image, str(path))
            width, height = image.size
            return upright_size(height, width, orientation_of(image))
    except Exception:  # what cannot be opened, the full reader explains
        return tuple(read_image(path).shape[1:])  # type: ignore[return-value]


def write_image(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Write uint8 ``[H, W, 3]`` RGB (or ``[H, W]`` grey); the format follows the name, the folder is made."""
    from PIL import Image

    assert pixels.dtype == np.uint8, pixels.dtype
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def _read(path: str | os.PathLike[str]) -> StoredImage:
    from PIL import Image

    if problem := _unusable(path):
        raise SegkitError(f"{path}: {problem}", value=str(path))
    try:
        return read_tiff(path, str(path)) if is_tiff(path) else read_with_pillow(path)
    except SegkitError:
        raise
    except Image.DecompressionBombError as error:
        raise SegkitError(f"{path}: {_short(error)}{LIMIT_HINT}", value=str(path)) from error
    except Exception as error:  # decoders raise many kinds; all mean that the file cannot be read
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


def _short(error: Exception) -> str:
    """An exception's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__
