"""Whole slides, by tiffslide or openslide."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from segkit.utils.images.calibration import PixelSize, pixel_size_in
from segkit.utils.images.container_parts import import_package
from segkit.utils.images.image_source import ImageSource, Window
from segkit.utils.images.planes import color_of
from segkit.utils.images.stored_image import StoredImage


class SlideSource(ImageSource):
    """The finest level of a whole slide, by tiffslide (.mrxs: by openslide).

    Args:
        path: of the file.
    """

    windowed = True
    always_lazy = True
    tile = (512, 512)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._name = str(path)
        if Path(path).suffix.lower() == ".mrxs":
            openslide = import_package("openslide", path, "slides", "openslide-python openslide-bin")
            self._slide = openslide.OpenSlide(path)
        else:
            self._slide = import_package("tiffslide", path, "slides").TiffSlide(path)

    @property
    def size(self) -> tuple[int, int]:
        width, height = self._slide.dimensions
        return int(height), int(width)

    @property
    def pixel_size(self) -> PixelSize | None:
        about = self._slide.properties
        for library in ("tiffslide", "openslide"):
            if found := pixel_size_in(about.get(f"{library}.mpp-x"), about.get(f"{library}.mpp-y"), "um"):
                return found
        return None

    def read(self, window: Window | None) -> StoredImage:
        self.check_limit(window, self._name)
        height, width = self.size
        x0, y0, x1, y1 = window or (0, 0, width, height)
        region = self._slide.read_region((x0, y0), 0, (x1 - x0, y1 - y0))
        pixels = np.asarray(region)
        if pixels.ndim == 3 and pixels.shape[2] == 4:  # openslide: parts that were not scanned are transparent
            opaque = pixels[:, :, 3:] > 0
            pixels = np.where(opaque, pixels[:, :, :3], np.uint8(255))
        return StoredImage(pixels, color_of(1 if pixels.ndim == 2 else pixels.shape[2]), pixels.dtype.itemsize * 8)

    def close(self) -> None:
        self._slide.close()
