"""Microscopy and slide formats, through optional packages: ND2, CZI, Zarr and OME-Zarr, whole slides.

The suffix chooses the format. Each package is imported when the first such file is opened.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segkit.utils.errors import SegkitError
from segkit.utils.images.image_source import ImageSource, Window
from segkit.utils.images.planes import Planes, Selection, color_of, project, select, select_scene
from segkit.utils.images.stored_image import StoredImage
from segkit.utils.images.suffixes import SLIDE_SUFFIXES

IN_PLANE = "YXS"


def open_container(path: str | os.PathLike[str], planes: Planes) -> ImageSource | None:
    """Opens a file of one of these formats; None if its suffix is that of another one.

    Raises:
        SegkitError: the package that reads it is missing; the file has several planes, none selected.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".nd2":
        return Nd2Source(path, planes)
    if suffix == ".czi":
        from segkit.utils.images.czi import CziSource

        return CziSource(path, planes)
    if suffix == ".zarr":
        from segkit.utils.images.zarr_image import ZarrSource

        return ZarrSource(path, planes)
    return SlideSource(path) if suffix in SLIDE_SUFFIXES else None


def import_package(module: str, path: str | os.PathLike[str], extra: str, package: str = "") -> Any:
    """An optional package.

    Raises a SegkitError with the line that installs it if it is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SegkitError(
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
    """An image of its z planes, each ``[H, W, C]``, with the colours that the number of channels implies."""
    pixels = project(planes, selection.projection)
    channels = pixels.shape[2]
    names = names if len(names) == channels else ()
    return StoredImage(pixels[:, :, 0] if channels == 1 else pixels, color_of(channels), bits, channel_names=names)


class Nd2Source(ImageSource):
    """An image of a Nikon ND2 file, by the package nd2; frames are mapped into memory.

    Args:
        path: of the file.
        planes: positions are scenes.
    """

    windowed = True

    def __init__(self, path: str | os.PathLike[str], planes: Planes) -> None:
        nd2 = import_package("nd2", path, "microscopy")
        self._name = str(path)
        self._file = nd2.ND2File(path)
        try:
            sizes = dict(self._file.sizes)
            self._sizes = {axis: int(sizes.get(axis, 1)) for axis in "YXCS"}
            loops = {axis: int(length) for axis, length in sizes.items() if axis not in "YXCS"}
            self._scene = select_scene(planes, [f"position {k}" for k in range(loops.get("P", 1))], self._name)
            axes = plane_axes({axis: n for axis, n in loops.items() if axis != "P"} | {"C": self._sizes["C"]})
            self._names = self._channel_names()
            count = int(np.prod(list(axes.values())))
            self._selection = select(planes, axes, self._name, count=count, channels=self._names)
            self._loops = loops
        except BaseException:
            self._file.close()
            raise

    @property
    def size(self) -> tuple[int, int]:
        return self._sizes["Y"], self._sizes["X"]

    def read(self, window: Window | None) -> StoredImage:
        self.check_limit(window, self._name)
        height, width = self.size
        x0, y0, x1, y1 = window or (0, 0, width, height)
        shape = (self._sizes["C"], height, width, self._sizes["S"])
        planes = []
        for z in self._selection.z:
            frame = self._file.read_frame(self._frame(z)).reshape(shape)[:, y0:y1, x0:x1]
            planes.append(np.concatenate(list(frame), axis=2))
        bits = int(self._file.attributes.bitsPerComponentSignificant or planes[0].dtype.itemsize * 8)
        return assemble(planes, self._selection, self._names, bits)

    def close(self) -> None:
        self._file.close()

    def _frame(self, z: int) -> int:
        """Index of a frame of the selected time point and position."""
        known = {"P": self._scene, "Z": z, "T": self._selection.index.get("T", 0)}
        other = [axis for axis in self._loops if axis not in known]
        page = self._selection.index.get("P", 0)
        for axis in reversed(other):
            page, known[axis] = divmod(page, self._loops[axis])
        flat = 0
        for axis, length in self._loops.items():
            flat = flat * length + known[axis]
        return flat

    def _channel_names(self) -> tuple[str, ...]:
        metadata = self._file.metadata
        channels = getattr(metadata, "channels", None) or []
        return tuple(str(one.channel.name) for one in channels)


class SlideSource(ImageSource):
    """The finest level of a whole slide, by tiffslide (.mrxs: by openslide).

    Args:
        path: of the file.
    """

    windowed = True
    always_lazy = True

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
