"""Images of Zeiss CZI files, by the package czifile."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from segkit.utils.errors import SegkitError
from segkit.utils.images.calibration import PixelSize, pixel_size_in
from segkit.utils.images.container_parts import assemble, import_package, plane_axes
from segkit.utils.images.image_source import ImageSource, Window
from segkit.utils.images.planes import Planes, select, select_scene
from segkit.utils.images.stored_image import StoredImage

SAMPLES = "0"  # czifile's letter for the samples of a pixel


class CziSource(ImageSource):
    """An image of a CZI file; the subblocks that touch a window are decoded.

    The tiles of a mosaic lie side by side; parts without a tile are 0. Subblocks of a pyramid are not used.

    Args:
        path: of the file.
        planes: CZI's scenes are scenes.
    """

    windowed = True

    def __init__(self, path: str | os.PathLike[str], planes: Planes) -> None:
        czifile = import_package("czifile", path, "microscopy")
        self._name = str(path)
        self._file = czifile.CziFile(os.fspath(path))
        try:
            self._axes = str(self._file.axes)
            self._sizes = dict(zip(self._axes, (int(n) for n in self._file.shape), strict=True))
            self._start = dict(zip(self._axes, (int(n) for n in self._file.start), strict=True))
            if not {"Y", "X"} <= set(self._axes):
                raise SegkitError(f"{path}: its axes are {self._axes}; expected images of X and Y")
            self._scene = select_scene(planes, [f"scene {k}" for k in range(self._sizes.get("S", 1))], self._name)
            # The tiles M of a mosaic are put at their places; the letter S is the scene, not samples.
            axes = plane_axes({axis: n for axis, n in self._sizes.items() if axis not in (SAMPLES, "M", "S")})
            self._names = _channel_names(self._file)
            count = int(np.prod(list(axes.values()))) if axes else 1
            self._selection = select(planes, axes, self._name, count=count, channels=self._names)
            self._blocks = [entry for entry in self._file.filtered_subblock_directory if self._in_scene(entry)]
            self._find_region()
        except BaseException:
            self._file.close()
            raise

    def _find_region(self) -> None:
        """The rectangle of the scene's subblocks; the file's shape covers all scenes."""
        if not self._blocks:
            raise SegkitError(f"{self._name}: holds no image data")
        boxes = np.array([self._box(entry) for entry in self._blocks])
        self._left, self._top = (int(v) for v in boxes[:, :2].min(0))
        self._right, self._bottom = (int(v) for v in boxes[:, 2:].max(0))

    @property
    def size(self) -> tuple[int, int]:
        return self._bottom - self._top, self._right - self._left

    @property
    def pixel_size(self) -> PixelSize | None:
        try:
            found = self._file.metadata(raw=False)["ImageDocument"]["Metadata"]["Scaling"]["Items"]["Distance"]
            sides = {str(one["Id"]): one["Value"] for one in found}
        except Exception:  # the metadata have no fixed form
            return None
        return pixel_size_in(sides.get("X"), sides.get("Y"), "m")

    def read(self, window: Window | None) -> StoredImage:
        self.check_limit(window, self._name)
        height, width = self.size
        x0, y0, x1, y1 = window or (0, 0, width, height)
        box = x0 + self._left, y0 + self._top, x1 + self._left, y1 + self._top
        channels, samples = self._sizes.get("C", 1), self._sizes.get(SAMPLES, 1)
        planes = []
        for z in self._selection.z:
            plane = np.zeros((y1 - y0, x1 - x0, channels, samples), self._file.dtype)
            for entry in self._blocks:
                self._place(entry, z, box, plane)
            planes.append(plane.reshape(y1 - y0, x1 - x0, channels * samples))
        return assemble(planes, self._selection, self._names, planes[0].dtype.itemsize * 8)

    def close(self) -> None:
        self._file.close()

    def _place(self, entry: Any, z: int, box: Window, plane: np.ndarray) -> None:
        """Copies the part of a subblock inside a box, if it belongs to the selected planes."""
        at, size = self._position(entry), self._shape(entry)
        selected = {"Z": z, "T": self._selection.index.get("T", 0)}
        page = self._selection.index.get("P", 0)
        for axis in reversed([a for a in self._axes if a not in "TZCYXMS" + SAMPLES]):
            page, selected[axis] = divmod(page, self._sizes[axis])
        if any(not at.get(axis, 0) <= k < at.get(axis, 0) + size.get(axis, 1) for axis, k in selected.items()):
            return
        x0, y0, x1, y1 = self._box(entry)
        left, top, right, bottom = max(x0, box[0]), max(y0, box[1]), min(x1, box[2]), min(y1, box[3])
        if left >= right or top >= bottom:
            return
        try:
            data = entry.data_segment().data(resize=True, order=0)
        except KeyError as error:
            raise SegkitError(
                f"{self._name}: its compression {error} is not one that this version of czifile decodes; save it "
                "uncompressed, or as OME-TIFF"
            ) from error
        ranges: dict[str, Any] = {axis: k - at.get(axis, 0) for axis, k in selected.items()}
        ranges |= {
            "Y": slice(top - y0, bottom - y0),
            "X": slice(left - x0, right - x0),
            "C": slice(None),
            SAMPLES: slice(None),
        }
        part = data[tuple(ranges.get(axis, 0) for axis in self._axes)]
        kept = [axis for axis in self._axes if axis in "YXC" + SAMPLES]
        for axis in "C" + SAMPLES:
            if axis not in kept:
                part, kept = part[..., None], [*kept, axis]
        part = part.transpose([kept.index(axis) for axis in "YXC" + SAMPLES])
        first = at.get("C", 0)
        plane[top - box[1] : bottom - box[1], left - box[0] : right - box[0], first : first + part.shape[2]] = part

    def _position(self, entry: Any) -> dict[str, int]:
        """First index of a subblock on each axis, counted from the file's first."""
        pairs = zip(self._axes, entry.start, strict=True)
        return {axis: int(start) - (self._start[axis] if axis not in "YX" else 0) for axis, start in pairs}

    def _shape(self, entry: Any) -> dict[str, int]:
        return dict(zip(self._axes, (int(n) for n in entry.shape), strict=True))

    def _box(self, entry: Any) -> tuple[int, int, int, int]:
        at, size = self._position(entry), self._shape(entry)
        return at["X"], at["Y"], at["X"] + size["X"], at["Y"] + size["Y"]

    def _in_scene(self, entry: Any) -> bool:
        return "S" not in self._axes or self._position(entry)["S"] == self._scene


def _channel_names(file: Any) -> tuple[str, ...]:
    """Names of the channels in the file's metadata; empty if it states none."""
    try:
        metadata = file.metadata(raw=False)
        found = metadata["ImageDocument"]["Metadata"]["Information"]["Image"]["Dimensions"]["Channels"]["Channel"]
        channels = found if isinstance(found, list) else [found]
        names = [str(channel.get("Name") or "") for channel in channels]
    except Exception:  # the metadata have no fixed form: the names are only for messages and data.channels
        return ()
    return tuple(names) if all(names) else ()
