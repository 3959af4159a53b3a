"""The reader of image files that a configuration asks for."""

from __future__ import annotations

from segkit.config.data_section import DataConfig
from segkit.utils.images import ImageReader, Planes


def build_reader(config: DataConfig) -> ImageReader:
    """Reads image files as the section ``data`` says."""
    planes = config.planes
    return ImageReader(planes=Planes(planes.page, planes.time, planes.z, planes.scene))
