"""Images in arrays of other libraries, such as Zarr and dask, read by window."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import numpy as np
import torch

from segkit.utils.errors import SegkitError
from segkit.utils.images import ChannelImage, ImageReader
from segkit.utils.images.image_source import Window
from segkit.utils.images.intensity import Limits
from segkit.utils.images.lazy_image import LazyImage
from segkit.utils.images.sampled_windows import sampled_windows


def is_lazy_array(source: Any) -> bool:
    """Whether it is an array that is not in memory.

    Of Zarr, dask, or any other library: it has a shape, a dtype and slices.
    """
    if isinstance(source, (np.ndarray, torch.Tensor, str, os.PathLike)):
        return False
    return all(hasattr(source, name) for name in ("shape", "dtype", "ndim", "__getitem__"))


class ArrayImage:
    """An array [H, W] or [H, W, C] as a file of :class:`segkit.utils.images.LazyImage`.

    Windows become tensors as the whole array does: intensities are limited by the same samples as those of a large file.

    Args:
        array: of numbers.
        reader: of the configuration.
    """

    def __init__(self, array: Any, reader: ImageReader) -> None:
        self.array, self.reader = array, reader

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.array.shape[0]), int(self.array.shape[1])

    def lazy(self) -> LazyImage:
        """The image, of which nothing is read yet but one pixel."""
        pixel = self.read_window("", (0, 0, 1, 1))
        return LazyImage(self, "", self.size, len(pixel), pixel.dtype)

    def read(self, path: str | os.PathLike[str]) -> torch.Tensor:
        """The whole image [C, H, W]."""
        height, width = self.size
        return self.read_window(path, (0, 0, width, height))

    def read_window(self, path: str | os.PathLike[str], window: Window) -> torch.Tensor:
        """A window (x0, y0, x1, y1) of the image, [C, h, w]."""
        image = self._channels(window)
        limits = self._limits if self.reader.needs_limits(image) else None
        return self.reader.to_tensor(image, limits, "an array").contiguous()

    @cached_property
    def _limits(self) -> Limits | None:
        parts = [self._channels(window) for window in sampled_windows(self.size)]
        pixels = np.concatenate([part.pixels.reshape(-1, part.pixels.shape[2]) for part in parts])
        sample = ChannelImage(pixels[:, None], parts[0].bits, parts[0].joint)
        return self.reader.scale_limits(sample, "an array")

    def _channels(self, window: Window) -> ChannelImage:
        x0, y0, x1, y1 = window
        try:
            pixels = np.asarray(self.array[y0:y1, x0:x1])
        except Exception as error:  # a store may raise anything
            raise SegkitError(
                f"the window {x0},{y0},{x1},{y1} of an array ({type(self.array).__name__}) cannot be read: {error}"
            ) from error
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        if self.reader.channels is None and pixels.shape[2] == 4:
            pixels = pixels[:, :, :3]
        return ChannelImage(pixels, pixels.dtype.itemsize * 8, joint=self.reader.channels is None)
