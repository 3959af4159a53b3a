"""Reads image files as 8-bit RGB or as stored samples (label maps), and writes them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from segkit.utils.images.image_file import ImageFile
from segkit.utils.images.stored_image import to_uint8


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
    pixels = to_uint8(ImageFile(path).read(), str(path))
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
    return np.ascontiguousarray(ImageFile(path).read().pixels)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of the image that :func:`read_image` returns.

    Only the header is read where possible.

    Raises:
        SegkitError: the file cannot be opened as an image, or holds several images.
    """
    return ImageFile(path).size


def write_image(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
    """Writes uint8 ``[H, W, 3]`` RGB or ``[H, W]`` grey.

    The suffix of the file selects the format; folders are created.
    """
    from PIL import Image

    assert pixels.dtype == np.uint8, pixels.dtype
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)
