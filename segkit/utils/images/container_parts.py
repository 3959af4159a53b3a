"""Shared by the readers of microscopy and slide formats: packages, axes, assembly."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from segkit.utils.errors import MissingPackage
from segkit.utils.images.planes import Selection, color_of, project
from segkit.utils.images.stored_image import StoredImage

IN_PLANE = "YXS"


def import_package(module: str, path: str | os.PathLike[str], extra: str, package: str = "") -> Any:
    """An optional package.

    Raises MissingPackage, with the line that installs it, if it is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackage(
            f"{path}: reading it needs the package {package or module}: pip install {package or module} (or pip install "
            f"'segkit[{extra}]'); {error}",
            value=str(path),
        ) from error


def plane_axes(sizes: Mapping[str, int]) -> dict[str, int]:
    """Axes of a container's planes: T, Z and C by their letters, all others joined to P."""
    other = [length for axis, length in sizes.items() if axis not in "TZC" + IN_PLANE]
    axes = {"P": int(np.prod(other))} if other else {}
    return axes | {axis: int(length) for axis, length in sizes.items() if axis in "TZC"}


def assemble(planes: list[np.ndarray], selection: Selection, names: tuple[str, ...], bits: int) -> StoredImage:
    """An image of its z planes, each ``[H, W, C]``; the number of channels implies the colours."""
    pixels = project(planes, selection.projection)
    channels = pixels.shape[2]
    names = names if len(names) == channels else ()
    return StoredImage(pixels[:, :, 0] if channels == 1 else pixels, color_of(channels), bits, channel_names=names)
