"""Which plane of a file with several: time points, z planes, pages and scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segkit.utils.errors import SegkitError, first_few

KEYS = {"T": "time", "Z": "z", "P": "page"}  # the key under data.planes of each axis
AXIS_NAMES = {**KEYS, "C": "channels"}


@dataclass(frozen=True)
class Planes:
    """The plane of a file that holds several: ``data.planes``. All indices count from 0.

    Attributes:
        page: index of the page of a file whose pages have no known meaning; None: the file has one.
        time: index of the time point; None: the file has one.
        z: index of the z plane, or a projection over all of them; None: the file has one.
        scene: index of the scene (position, series) of OME-TIFF, ND2, CZI and OME-Zarr; None: the file has one.
    """

    page: int | None = None
    time: int | None = None
    z: int | Literal["max", "mean"] | None = None
    scene: int | None = None


ONE_PLANE = Planes()  # of files that hold one


@dataclass(frozen=True)
class Selection:
    """The planes to read of a file.

    Attributes:
        index: index of each axis but z and channels, by its letter.
        z: the z planes, one unless they are projected.
        projection: how several z planes become one: ``max``, ``mean``, or "" for a single plane.
    """

    index: Mapping[str, int]
    z: range
    projection: str

    def position(self, axes: Mapping[str, int], z: int, channel: int) -> int:
        """Index of a plane among those of ``axes``, the last axis running fastest."""
        flat = 0
        for axis, length in axes.items():
            own = z if axis == "Z" else channel if axis == "C" else self.index.get(axis, 0)
            flat = flat * length + own
        return flat


def select(
    planes: Planes,
    axes: Mapping[str, int],
    name: str,
    *,
    count: int,
    what: str = "planes",
    channels: Sequence[str] = (),
) -> Selection:
    """The planes of a file that the configuration asks for.

    Args:
        planes: ``data.planes``.
        axes: the length of each axis by its letter: T, Z, C, and P for planes without a known meaning.
        name: the file, for messages.
        count: number of planes in the file, for messages.
        what: the word for planes in messages.
        channels: names of the channels, if the file states them.
    Raises:
        SegkitError: an axis has several positions and no key selects one, or a key is out of range. The message lists all
            axes.
    """
    described = describe_axes(axes, channels)
    missing = [KEYS[axis] for axis, n in axes.items() if axis in KEYS and n > 1 and getattr(planes, KEYS[axis]) is None]
    if missing:
        keys = " and ".join(f"data.planes.{key}" for key in missing)
        hint = " (an index from 0, max or mean)" if missing == ["z"] else " (an index from 0)"
        if missing == ["page"] and axes.get("Z", 1) == 1:
            hint += ", or data.planes.z to take the pages for z planes"
        raise SegkitError(
            f"{name}: holds {count} {what}; expected one image: its axes are {described}; set {keys}{hint}",
            key=f"data.planes.{missing[0]}",
        )
    index: dict[str, int] = {}
    z, projection = range(1), ""
    for axis, key in KEYS.items():
        value, length = getattr(planes, key), axes.get(axis, 1)
        if value in ("max", "mean"):
            z, projection = range(length), str(value)
            continue
        position = value or 0
        if not 0 <= position < length:
            raise SegkitError(
                f"{name}: data.planes.{key} is {position}, but its axes are {described or f'a single {key}'}; expected "
                + ("0" if length == 1 else f"0 to {length - 1}"),
                key=f"data.planes.{key}",
                value=value,
            )
        if axis == "Z":
            z = range(position, position + 1)
        else:
            index[axis] = position
    return Selection(index, z, projection)


def pages_as_z(axes: Mapping[str, int], planes: Planes) -> dict[str, int]:
    """The axes, with pages of unknown meaning as z planes if z is selected and no page."""
    if planes.z is None or planes.page is not None or axes.get("Z", 1) > 1:
        return dict(axes)
    return {"Z" if axis == "P" else axis: length for axis, length in axes.items() if axis != "Z"}


def select_scene(planes: Planes, scenes: Sequence[str], name: str) -> int:
    """Index of the scene that the configuration asks for.

    Args:
        planes: ``data.planes``.
        scenes: a description of each scene.
        name: the file, for messages.
    Raises:
        SegkitError: there are several and none is selected, or the index is out of range.
    """
    if planes.scene is None and len(scenes) > 1:
        raise SegkitError(
            f"{name}: holds {len(scenes)} scenes; expected one image: {first_few(list(scenes))}; set data.planes.scene "
            f"(0 to {len(scenes) - 1})",
            key="data.planes.scene",
        )
    scene = planes.scene or 0
    if not 0 <= scene < max(len(scenes), 1):
        raise SegkitError(
            f"{name}: data.planes.scene is {scene}, but the file has {len(scenes)} "
            f"scene{'s' * (len(scenes) != 1)}, counted from 0",
            key="data.planes.scene",
            value=scene,
        )
    return scene


def check_single_plane(planes: Planes, name: str) -> None:
    """Raises a SegkitError if another plane is asked for than the only one of a file."""
    select(planes, {}, name, count=1)
    select_scene(planes, [name], name)


def describe_axes(axes: Mapping[str, int], channels: Sequence[str] = ()) -> str:
    """Axes with their lengths, as ``time (5), channels (2: DAPI, GFP)``."""
    parts = []
    for axis, length in axes.items():
        if length > 1:
            names = f": {', '.join(channels)}" if axis == "C" and channels else ""
            parts.append(f"{AXIS_NAMES[axis]} ({length}{names})")
    return ", ".join(parts)


def project(planes: Sequence[np.ndarray], projection: str) -> np.ndarray:
    """One plane of several z planes, channel by channel.

    The mean of integers is rounded to the file's own type.

    Args:
        planes: each ``[H, W, C]``, of one type.
        projection: ``max``, ``mean``, or "" for a single plane.
    """
    if len(planes) == 1:
        return planes[0]
    if projection == "max":
        return np.maximum.reduce(planes)
    total = planes[0].astype(np.float64)
    for plane in planes[1:]:
        total += plane
    total /= len(planes)
    return total.astype(planes[0].dtype) if planes[0].dtype.kind == "f" else np.rint(total).astype(planes[0].dtype)


def color_of(channels: int) -> str:
    """The colour kind of channels without a stated meaning: one is grey, three are RGB."""
    return {1: "grey", 3: "rgb"}.get(channels, "channels")
