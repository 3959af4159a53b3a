"""An open image file: its size and its samples, whole or by window."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from segkit.utils.images.image_io import image_size, read_stored
from segkit.utils.images.stored_image import StoredImage

Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the upright image


@dataclass(frozen=True)
class Planes:
    """The plane of a file that holds several: ``data.planes``.

    Attributes:
        page: index of the page of a TIFF without axes; None: the file has one.
        time: index of the time point; None: the file has one.
        z: index of the z plane, or a projection over all of them; None: the file has one.
    """

    page: int | None = None
    time: int | None = None
    z: int | Literal["max", "mean"] | None = None


class ImageFile:
    """One image of a file, read whole or by window.

    Args:
        path: of the file.
        planes: which image of a file with several.
    """

    def __init__(self, path: str | os.PathLike[str], planes: Planes = Planes()) -> None:
        self.path = path
        self.planes = planes

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the upright image; reads the header only where possible."""
        return image_size(self.path)

    def read(self, window: Window | None = None) -> StoredImage:
        """The stored samples of a window, upright; None: of the whole image."""
        image = read_stored(self.path)
        assert window is None, window
        return image


def intensity_sample(file: ImageFile) -> StoredImage:
    """A sample of a file's pixels, always the same, to measure intensities; here all of them."""
    return file.read()
