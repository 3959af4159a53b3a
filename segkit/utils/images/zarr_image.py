"""Images of Zarr folders: OME-Zarr (version 0.4 and 0.5), and plain arrays."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from segkit.utils.errors import SegkitError
from segkit.utils.images.calibration import PixelSize, zarr_pixel_size
from segkit.utils.images.container_parts import assemble, import_package, plane_axes
from segkit.utils.images.image_source import ImageSource, Window
from segkit.utils.images.planes import Planes, select, select_scene
from segkit.utils.images.stored_image import StoredImage

LETTERS = {"t": "T", "time": "T", "c": "C", "channel": "C", "z": "Z", "y": "Y", "x": "X", "s": "S"}


class ZarrSource(ImageSource):
    """An image of a Zarr folder, read chunk by chunk; of OME-Zarr, the finest level.

    Axes are those that OME-Zarr or the array's dimension names state. Without names the last two are y and x; a last axis
    of at most 4 after two larger ones are samples, and all others are pages.

    Args:
        path: the folder.
        planes: several OME-Zarr images in one folder (bioformats2raw) are scenes.
    Raises:
        SegkitError: no array of numbers; chunks that Python's pickle would decode.
    """

    windowed = True
    always_lazy = True

    def __init__(self, path: str | os.PathLike[str], planes: Planes) -> None:
        zarr = import_package("zarr", path, "microscopy")
        self._name = str(path)
        try:
            node = zarr.open(os.fspath(path), mode="r")
        except FileNotFoundError as error:  # zarr's errors about missing nodes are of this type
            raise SegkitError(f"{path}: the folder holds no Zarr array or group", value=str(path)) from error
        self._names: tuple[str, ...] = ()
        axes: str | None = None
        self._pixel_size: PixelSize | None = None
        if not hasattr(node, "dtype"):
            node, axes = self._ome_array(node, planes)
        self._array = node
        metadata = json.dumps(node.metadata.to_dict(), default=str).lower()
        if "pickle" in metadata or node.dtype.kind not in "buif":
            raise SegkitError(f"{path}: its array is of type {node.dtype}, or pickled; expected numbers")
        self._axes = axes or _array_axes(node)
        if len(self._axes) != node.ndim or not {"Y", "X"} <= set(self._axes) or len(set(self._axes)) != node.ndim:
            raise SegkitError(
                f"{path}: its axes are {self._axes or 'unknown'} for the shape {node.shape}; expected y and x"
            )
        self._sizes = dict(zip(self._axes, (int(n) for n in node.shape), strict=True))
        plane = plane_axes(self._sizes)
        count = int(np.prod(list(plane.values()))) if plane else 1
        self._selection = select(planes, plane, self._name, count=count, channels=self._names)

    @property
    def size(self) -> tuple[int, int]:
        return self._sizes["Y"], self._sizes["X"]

    @property
    def pixel_size(self) -> PixelSize | None:
        return self._pixel_size

    def read(self, window: Window | None) -> StoredImage:
        self.check_limit(window, self._name)
        height, width = self.size
        x0, y0, x1, y1 = window or (0, 0, width, height)
        planes = []
        other = [axis for axis in self._axes if axis not in "TZCYXS"]
        page = self._selection.index.get("P", 0)
        fixed = {"T": self._selection.index.get("T", 0)}
        for axis in reversed(other):
            page, fixed[axis] = divmod(page, self._sizes[axis])
        kept = [axis for axis in self._axes if axis in "CYXS"]
        for z in self._selection.z:
            ranges: dict[str, Any] = {**fixed, "Z": z, "Y": slice(y0, y1), "X": slice(x0, x1)}
            part = np.asarray(self._array[tuple(ranges.get(axis, slice(None)) for axis in self._axes)])
            part = part.transpose([kept.index(axis) for axis in "YXCS" if axis in kept])
            planes.append(part.reshape(y1 - y0, x1 - x0, -1))
        if planes[0].dtype.kind == "b":
            return assemble([plane.astype(np.uint8) for plane in planes], self._selection, self._names, 1)
        native = [plane.astype(plane.dtype.newbyteorder("="), copy=False) for plane in planes]
        return assemble(native, self._selection, self._names, native[0].dtype.itemsize * 8)

    def _ome_array(self, group: Any, planes: Planes) -> tuple[Any, str | None]:
        """The finest array of a group, and its axes; None for the axes if they are not stated."""
        about = _ome_attributes(group)
        if "multiscales" not in about:
            members = sorted(name for name, one in group.groups() if "multiscales" in _ome_attributes(one))
            arrays = sorted(name for name, _ in group.arrays())
            if not members and len(arrays) == 1:
                return group[arrays[0]], None
            if not members:
                hint = f": give the path of one ({', '.join(arrays)}), renamed to end with .zarr" if arrays else ""
                raise SegkitError(
                    f"{self._name}: is neither an array nor an OME-Zarr image; it holds {len(arrays)} arrays{hint}",
                    value=self._name,
                )
            group = group[members[select_scene(planes, members, self._name)]]
            about = _ome_attributes(group)
        image = about["multiscales"][0]
        axes = [one["name"] if isinstance(one, dict) else one for one in image.get("axes", "tczyx")]
        inner = str(image["datasets"][0]["path"])
        if Path(inner).is_absolute() or ".." in Path(inner).parts:
            raise SegkitError(f"{self._name}: its data set '{inner}' lies outside of the folder")
        omero = about.get("omero") or image.get("metadata", {}).get("omero") or {}
        labels = [str(channel.get("label", "")) for channel in omero.get("channels", [])]
        self._names = tuple(labels) if all(labels) else ()
        letters = _letters(axes)
        self._pixel_size = zarr_pixel_size(image, letters)
        return group[inner], letters


def _ome_attributes(group: Any) -> dict[str, Any]:
    """OME's attributes of a group: under ``ome`` from version 0.5 on."""
    attributes = dict(group.attrs)
    return dict(attributes.get("ome", attributes))


def _letters(names: list[str]) -> str:
    """One letter an axis; names without a known one get letters of their own."""
    free = iter("QRABDEFGHIJKLMNOUVW")
    return "".join(LETTERS.get(str(name).lower()) or next(free) for name in names)


def _array_axes(array: Any) -> str:
    """The axes of a plain array, by its dimension names or its shape."""
    stated = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if stated and all(stated):
        return _letters(list(stated))
    sizes = array.shape
    samples = len(sizes) > 2 and sizes[-1] <= 4 and min(sizes[-3:-1]) > 4
    plain = "YXS" if samples else "YX"
    return "QRABDEFGHIJKLMNOUVW"[: max(0, len(sizes) - len(plain))] + plain
