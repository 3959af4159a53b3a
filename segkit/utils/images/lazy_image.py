"""An image that is read by window, in a sample of a file that is too large to load."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

import torch

from segkit.utils.errors import image_errors
from segkit.utils.images.image_source import Window


class WindowReader(Protocol):
    """Reads image files, as :class:`segkit.utils.images.ImageReader` does."""

    def read(self, path: str | os.PathLike[str]) -> torch.Tensor:
        """The image [C, H, W]."""

    def read_window(self, path: str | os.PathLike[str], window: Window) -> torch.Tensor:
        """The pixels of a window of ``read(path)``."""


@dataclass(frozen=True)
class LazyImage:
    """An image of a large file, read by window.

    Attributes:
        reader: reads the windows, with the planes, channels and intensities of the configuration.
        path: of the file.
        size: (H, W).
        channels: C.
        dtype: the type of the pixels that are read.
    """

    reader: WindowReader
    path: str | os.PathLike[str]
    size: tuple[int, int]
    channels: int
    dtype: torch.dtype = torch.uint8

    @property
    def shape(self) -> torch.Size:
        """[C, H, W]."""
        return torch.Size((self.channels, *self.size))

    def read(self, window: Window | None = None) -> torch.Tensor:
        """The pixels [C, H, W] of a window; None: of the whole image.

        Raises:
            UnreadableImage: the file, or what the window needs of it, cannot be read.
        """
        with image_errors():
            return self.reader.read(self.path) if window is None else self.reader.read_window(self.path, window)
