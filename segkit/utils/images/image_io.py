"""Reads image files as 8-bit RGB or as stored samples (label maps), and writes them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from segkit.utils.errors import SegkitError
from segkit.utils.images.pillow_decoder import orientation_of, read_with_pillow, refuse_frames
from segkit.utils.images.stored_image import LIMIT_HINT, StoredImage, to_uint8, upright, upright_size
from segkit.utils.images.tiff import is_tiff, read_tiff, tiff_size
from segkit.utils.paths.hints import why_unusable

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")


def is_image_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file name has the suffix of an image format."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def read_image(path: str | os.PathLike[str]) -> torch.Tensor:
    """Reads an image file as RGB, upright (the orientation tag of EXIF or TIFF is applied).

    Grey images get three equal channels, palettes are looked up, alpha is dropped, CMYK is converted without a profile.
    TIFFs with photometric interpretation "white is zero" are inverted. Samples of more than 8 bits are scaled, from the
    stored samples, so that the file's 0.1 and 99.9 percentiles become 0 and 255.

    Returns:
        uint8 ``[3, H, W]``: a channels-last view, because resizing is twice as fast in that layout.
    Raises:
        SegkitError: the file is missing or not a readable image, holds several images (a stack, an animation), or has a
            channel that is neither colour nor alpha. The message names the file and the reason.
    """
    pixels = to_uint8(read_stored(path), str(path))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def read_pixels(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads the stored samples of an image file, upright: for label maps.

    Samples are not scaled, inverted or looked up: 4-bit samples stay 0..15, a palette image returns its indices.

    Returns:
        ``[H, W]`` or ``[H, W, C]`` in the file's own type, or in the next larger one where NumPy has no such width.
    Raises:
        SegkitError: as :func:`read_image`, or the samples cannot be read exactly as stored.
    """
    image = read_stored(path)
    return np.ascontiguousarray(upright(image.pixels, image.orientation))


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of the image that :func:`read_image` returns.

    Only the header is read where possible.

    Raises:
        SegkitError: the file cannot be opened as an image, or holds several images.
    """
    from PIL import Image

    try:
        if is_tiff(path):
            return tiff_size(path)
        with Image.open(path) as image:
            refuse_frames(image, str(path))
            width, height = image.size
            return upright_size(height, width, orientation_of(image))
    except Exception:  # the full reader succeeds, or raises the error that explains the file's problem
        return tuple(read_image(path).shape[1:])  # type: ignore[return-value]


def write_image(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Writes uint8 ``[H, W, 3]`` RGB or ``[H, W]`` grey.

    The suffix of the file selects the format; folders are created.
    """
    from PIL import Image

    assert pixels.dtype == np.uint8, pixels.dtype
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def read_stored(path: str | os.PathLike[str]) -> StoredImage:
    """Chooses the decoder by the file's first bytes.

    Every failure becomes a SegkitError that names the file.
    """
    from PIL import Image

    if problem := _path_problem(path):
        raise SegkitError(f"{path}: {problem}", value=str(path))
    try:
        return read_tiff(path, str(path)) if is_tiff(path) else read_with_pillow(path)
    except SegkitError:
        raise
    except Image.DecompressionBombError as error:
        raise SegkitError(f"{path}: {_one_line(error)}{LIMIT_HINT}", value=str(path)) from error
    except Exception as error:  # decoders raise errors of many types; each means that the file cannot be read
        raise SegkitError(f"{path}: cannot be read as an image ({_one_line(error)})", value=str(path)) from error


def _path_problem(path: str | os.PathLike[str]) -> str | None:
    """Why a path cannot be an image: missing, a folder, or empty.

    Returns None if it may be one; content is not read.
    """
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


def _one_line(error: Exception) -> str:
    """An exception's text on one line; its type if it has no text."""
    return " ".join(str(error).split()) or type(error).__name__
