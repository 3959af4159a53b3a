"""The interface of an open image: its size, and its stored samples by window."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from segkit.utils.images.calibration import PixelSize
from segkit.utils.images.stored_image import StoredImage, check_pixels

Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels


class ImageSource(ABC):
    """One image of an open file.

    Coordinates are those of the stored samples, before its orientation is applied.

    Attributes:
        windowed: whether a window is decoded without the whole image.
        always_lazy: whether data sets read it by window at any size.
        tile: (h, w) of the parts that are decoded, if a cache of them saves time; None: it does not.
    """

    windowed: bool = False
    always_lazy: bool = False
    tile: tuple[int, int] | None = None

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(H, W) of the stored samples."""

    @property
    def orientation(self) -> int:
        """1 to 8, as in EXIF."""
        return 1

    @property
    def pixel_size(self) -> PixelSize | None:
        """Of the stored samples; None if the file does not say it."""
        return None

    @abstractmethod
    def read(self, window: Window | None) -> StoredImage:
        """The samples of a window; None: of the whole image.

        Raises:
            SegkitError: the samples cannot be read.
            Exception: the file is damaged.
        """

    def check_limit(self, window: Window | None, name: str) -> None:
        """Raises a SegkitError if more pixels would be decoded than Pillow accepts."""
        height, width = self.size
        if window is not None and self.windowed:
            width, height = window[2] - window[0], window[3] - window[1]
        check_pixels(name, height * width)

    def close(self) -> None:  # noqa: B027 - most sources hold no file open
        """Closes the file."""


def cropped(image: StoredImage, window: Window | None) -> StoredImage:
    """A window of an image, in the coordinates of its stored samples."""
    if window is None:
        return image
    x0, y0, x1, y1 = window
    return replace(image, pixels=image.pixels[y0:y1, x0:x1])


def stored_window(window: Window, size: tuple[int, int], orientation: int) -> Window:
    """The window in the coordinates of the stored samples.

    Args:
        window: of the upright image.
        size: (H, W) of the upright image.
        orientation: 1 to 8, as in EXIF.
    """
    x0, y0, x1, y1 = window
    height, width = size
    if orientation in (3, 4, 7, 8):
        y0, y1 = height - y1, height - y0
    if orientation in (2, 3, 6, 7):
        x0, x1 = width - x1, width - x0
    return (y0, x0, y1, x1) if orientation in (5, 6, 7, 8) else (x0, y0, x1, y1)
