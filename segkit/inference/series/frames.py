"""Frames of time series: planes of TIFF stacks, and files whose names end in numbers."""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from segkit.inference.frame import Frame
from segkit.utils.errors import SegkitError, counted, first_few, image_errors
from segkit.utils.images import ImageReader, Planes
from segkit.utils.images.tiff import is_tiff

logger = logging.getLogger(__name__)

NUMBER_AT_END = re.compile(r"(.*?)(\d+)", re.DOTALL)


def find_series(files: Sequence[Path], reader: ImageReader | None = None) -> dict[str, Frame]:
    """The frames that files stand for, series by series, by a unique name each.

    A TIFF with several time points, or with several pages of unknown meaning, is a series. Other files of a folder whose
    names differ in the number at their end only (``t_001.png``, ``t_002.png``) are one, in the order of the numbers.

    Args:
        files: images.
        reader: of the configuration, whose ``data.planes`` select what is not time.
    Raises:
        SegkitError: a file is neither a stack nor one of several numbered files, the frames of a series have different
            sizes, or two series have one name.
    """
    reader = reader or ImageReader()
    frames: dict[str, Frame] = {}
    firsts: dict[str, Frame] = {}
    sequences: dict[tuple[Path, str, str], list[tuple[int, Path]]] = {}
    for file in files:
        stack = _stack_frames(file, reader.planes)
        if stack:
            name = file.with_suffix("").as_posix()
            _add_series(frames, firsts, {f"{name}_t{frame.index:04d}{file.suffix}": frame for frame in stack})
            continue
        number = NUMBER_AT_END.fullmatch(file.stem)
        if number is None:
            raise SegkitError(
                f"{file}: holds one image, and its name does not end in a number, so it is no frame of a series; number the "
                "files of a sequence (t_001.png, t_002.png), or predict without --series",
                key="--series",
                value=str(file),
            )
        sequences.setdefault((file.parent, number[1], file.suffix.lower()), []).append((int(number[2]), file))
    for (folder, prefix, _), members in sequences.items():
        _add_series(frames, firsts, _sequence_frames(folder, prefix, sorted(members), reader))
    return frames


def _add_series(frames: dict[str, Frame], firsts: dict[str, Frame], added: Mapping[str, Frame]) -> None:
    """Adds the frames of a series, whose name and whose frames' names must be new; ``firsts``: a frame of each series."""
    frame = next(iter(added.values()))
    clashes = [(frame.series, firsts[frame.series], frame)] if frame.series in firsts else []
    clashes += [(name, frames[name], added[name]) for name in added if name in frames]
    if clashes:
        name, one, other = clashes[0]
        raise SegkitError(
            f"{one.file} and {other.file}: two series, or frames of two, would have one name ({name}); rename one, or "
            "predict them separately",
            key="--series",
            value=str(other.file),
        )
    firsts[frame.series] = frame
    frames |= added


def _stack_frames(file: Path, planes: Planes) -> list[Frame]:
    """The frames of a TIFF stack; none if the file holds one time point."""
    if planes.time is not None or planes.page is not None:
        raise SegkitError(
            "data.planes selects one time or page, and a series is all of them; set data.planes.time and page to null",
            key="data.planes",
        )
    if not is_tiff(file):
        return []
    with image_errors():
        axes = _axes(file, planes)
    key, length = ("time", axes["T"]) if axes.get("T", 1) > 1 else ("page", axes.get("P", 1))
    if length < 2 and axes.get("Z", 1) > 1 and planes.z is None:
        raise SegkitError(
            f"{file}: holds {axes['Z']} z planes and no time points, so it is no series; set data.planes.z (an index from 0, "
            "max or mean) to take it as one frame, or write it with the axes TYX if they are time",
            key="--series",
            value=str(file),
        )
    if length < 2 or (key == "page" and planes.z is not None):
        return []
    name = file.with_suffix("").as_posix()
    return [Frame(file, replace(planes, **{key: i}), name, i) for i in range(length)]


def _axes(file: Path, planes: Planes) -> Mapping[str, int]:
    """The length of each axis of a TIFF's planes, by its letter."""
    import tifffile

    from segkit.utils.images.tiff_pages import find_planes

    try:
        with tifffile.TiffFile(file, _multifile=False) as opened:
            return find_planes(opened, str(file), planes).axes
    except SegkitError:
        raise
    except Exception as error:  # tifffile raises errors of many types for damaged files
        raise SegkitError(f"{file}: cannot be read as a TIFF: {error}", value=str(file)) from error


def _sequence_frames(
    folder: Path, prefix: str, members: Sequence[tuple[int, Path]], reader: ImageReader
) -> dict[str, Frame]:
    """The frames of numbered files, in the order of the digits."""
    first = members[0][0]
    name = (folder / (prefix.rstrip("_-. ") or folder.name)).as_posix()
    times = [time for time, _ in members]
    if repeated := [time for time, after in itertools.pairwise(times) if time == after]:
        raise SegkitError(f"{name}: several files have the number {repeated[0]}", value=name)
    step = math.gcd(*(after - time for time, after in itertools.pairwise(times))) or 1
    if step > 1:
        logger.info("%s: files are numbered in steps of %d, which are the frames", name, step)
    if missing := (times[-1] - first) // step + 1 - len(times):
        known = set(times)
        absent = itertools.islice((time for time in range(first, times[-1], step) if time not in known), 5)
        logger.warning("%s: %s missing: %s", name, counted(missing, "frame"), first_few([str(time) for time in absent]))
    sizes: dict[tuple[int, int], Path] = {}
    for _, file in members:
        sizes.setdefault(reader.size(file), file)
    if len(sizes) > 1:
        (one, one_file), (other, other_file) = list(sizes.items())[:2]
        raise SegkitError(
            f"{name}: the frames of a series have one size, but {one_file} is {one[0]} x {one[1]} and {other_file} "
            f"{other[0]} x {other[1]} pixels large",
            value=name,
        )
    return {file.as_posix(): Frame(file, reader.planes, name, (number - first) // step) for number, file in members}
