"""Images of Nikon ND2 files, by the package nd2."""

from __future__ import annotations

import os

import numpy as np

from segkit.utils.images.calibration import PixelSize, pixel_size_in
from segkit.utils.images.container_parts import assemble, import_package, plane_axes
from segkit.utils.images.image_source import ImageSource, Window
from segkit.utils.images.planes import Planes, select, select_scene
from segkit.utils.images.stored_image import StoredImage


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

    @property
    def pixel_size(self) -> PixelSize | None:
        channels = getattr(self._file.metadata, "channels", None) or [None]
        volume = getattr(channels[0], "volume", None)
        if volume is None or not all(volume.axesCalibrated[:2]):
            return None
        x, y = volume.axesCalibration[:2]
        return pixel_size_in(x, y, "um")

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
