"""The part of a large image by which its intensities and unmarked channels are judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from segkit.utils.images.image_file import ImageFile
from segkit.utils.images.image_source import Window
from segkit.utils.images.stored_image import StoredImage

SAMPLED_WINDOWS, SAMPLED_SIDE = 8, 256  # 8 x 8 windows of this side


def intensity_sample(file: ImageFile) -> StoredImage:
    """The samples by which a file's intensities are judged: all, or some of a large image.

    Of a large image these are the same 8 x 8 windows of 256 x 256 pixels on a regular grid, whether the image is then read
    whole or by window.
    """
    image = file.read_unless_large()
    if image is not None:
        return image
    parts = [file.read(window) for window in sampled_windows(file.size)]
    pixels = np.concatenate([part.pixels.reshape(-1, *part.pixels.shape[2:]) for part in parts])
    return replace(parts[0], pixels=pixels[:, None])


def sampled_windows(size: tuple[int, int]) -> list[Window]:
    """The sampled windows (x0, y0, x1, y1) of a large image of ``size`` (H, W)."""
    height, width = size
    return [
        (x, y, min(x + SAMPLED_SIDE, width), min(y + SAMPLED_SIDE, height))
        for y in _window_starts(height)
        for x in _window_starts(width)
    ]


def _window_starts(length: int) -> list[int]:
    """First pixels of the sampled windows along a side, at multiples of their side so that each touches few tiles."""
    steps = np.linspace(0, max(0, (length - 1) // SAMPLED_SIDE), SAMPLED_WINDOWS).astype(int)
    return [int(step) * SAMPLED_SIDE for step in np.unique(steps)]
