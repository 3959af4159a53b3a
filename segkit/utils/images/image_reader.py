"""Reads image files as the tensors that a model gets."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch

from segkit.utils.images.image_file import Planes
from segkit.utils.images.image_io import image_size, read_image


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
        return read_image(path)

    def size(self, path: str | os.PathLike[str]) -> tuple[int, int]:
        """(H, W) of the image; reads the header only where possible."""
        return image_size(path)
