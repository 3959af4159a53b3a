"""Reads image files as the tensors that a model gets."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
import torch

from segkit.utils.images.image_file import ImageFile, intensity_sample
from segkit.utils.images.image_source import Window
from segkit.utils.images.lazy_image import LazyImage
from segkit.utils.images.planes import Planes
from segkit.utils.images.stored_image import StoredImage, intensity_bounds, to_uint8


@dataclass(frozen=True)
class ImageReader:
    """Reads image files with the planes, channels and intensities of the configuration.

    Attributes:
        planes: the plane of files that hold several.
    """

    planes: Planes = field(default_factory=Planes)

    def read(self, path: str | os.PathLike[str]) -> torch.Tensor:
        """The image as uint8 [C, H, W], upright.

        Raises:
            SegkitError: the file cannot be read.
        """
        file = ImageFile(path, self.planes)
        image = file.read_unless_large()
        return self._convert(file, file.read(), True) if image is None else self._convert(file, image, False)

    def read_window(self, path: str | os.PathLike[str], window: Window) -> torch.Tensor:
        """The pixels of a window (x0, y0, x1, y1) of ``read(path)``, bit for bit.

        Raises:
            SegkitError: the file cannot be read; the window is not inside the image.
        """
        file = ImageFile(path, self.planes)
        if not file.is_large:
            x0, y0, x1, y1 = window
            return self.read(path)[:, y0:y1, x0:x1]
        return self._convert(file, file.read(window), True)

    def open_if_large(self, path: str | os.PathLike[str]) -> LazyImage | None:
        """A large image, to be read by window; None for any other, to be read whole.

        :attr:`ImageFile.is_large` defines which are large.
        """
        file = ImageFile(path, self.planes)
        if not file.is_large:
            return None
        pixel = file.remember(f"pixel {self}", lambda: self.read_window(path, (0, 0, 1, 1)))
        return LazyImage(self, path, file.size, len(pixel), pixel.dtype)

    def size(self, path: str | os.PathLike[str]) -> tuple[int, int]:
        """(H, W) of the image; reads the header only where possible."""
        return ImageFile(path, self.planes).size

    def _convert(self, file: ImageFile, image: StoredImage, is_large: bool) -> torch.Tensor:
        """Pixels of a file as the model gets them, those of a large file by the intensities of its sample."""
        name = str(file.path)
        bounds = None
        if is_large:
            bounds = file.remember(f"bounds {self}", lambda: intensity_bounds(intensity_sample(file), name))
        pixels = to_uint8(image, name, bounds)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
