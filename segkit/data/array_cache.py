"""Where the arrays made from large annotation files are kept, so that these are parsed once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from segkit.data.array_file import ArrayFile
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)

KEPT_DAYS = 60  # without being read: the file that it was made from may be gone
SMALLEST_CACHED = 32 << 20  # bytes; a file below it is parsed in about a second, and small sets are not to litter


def cache_folder() -> Path:
    """``$SEGKIT_CACHE``, else ``segkit`` in the user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``)."""
    if chosen := os.environ.get("SEGKIT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "segkit"


def cached_arrays(
    file: Path, build: Callable[[BinaryIO, dict[str, Any]], None], dtypes: Mapping[str, str], layout: str
) -> ArrayFile:
    """The arrays made from ``file``: from the cache, where it has those of just this file.

    A small file's arrays are held in memory. A large one's are written to the cache folder and mapped; where that fails
    a warning says why, and they are held in memory. When one is written, those that nobody has read for KEPT_DAYS go.

    Args:
        file: what they are made from; it is known again by path, size and time of change.
        build: reads the file and writes its arrays, by an ``ArrayWriter``, to the stream it is given; the second
            argument must be among the facts, as ``origin``.
        dtypes: the arrays, with their types.
        layout: name and version of what the arrays mean; another one is not read.
    """
    stat, path = file.stat(), str(file.resolve())
    origin = {"layout": layout, "path": path, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    if stat.st_size < SMALLEST_CACHED:
        return _in_memory(build, dtypes, origin)
    place = cache_folder() / f"{file.stem}-{hashlib.sha256(path.encode()).hexdigest()[:12]}.arrays"
    cached = _from_cache(place, dtypes, origin)
    if cached is not None:
        logger.info("%s: read from the cache (%s)", file, place)
        with contextlib.suppress(OSError):  # somebody else's folder
            os.utime(place)  # the day of the last reading
        return cached
    try:
        with atomic_write(place) as temporary, open(temporary, "wb") as stream:
            build(stream, origin)
        arrays = ArrayFile(place, dtypes)
    except OSError as error:
        logger.warning("%s: cannot be kept in the cache (%s), only in memory", file, error)
        return _in_memory(build, dtypes, origin)
    logger.info("%s: kept in the cache for the next time (%s)", file, place)
    _drop_unread(place.parent)
    return arrays


def _drop_unread(folder: Path) -> None:
    before, dropped, size = time.time() - KEPT_DAYS * 86400, 0, 0
    for place in folder.glob("*-" + "[0-9a-f]" * 12 + ".arrays"):  # in a folder that may be the user's own
        with contextlib.suppress(OSError):  # another process was faster, or it is somebody else's
            stat = place.stat()
            if stat.st_mtime < before:
                place.unlink()
                dropped, size = dropped + 1, size + stat.st_size
    if dropped:
        logger.info(
            "%s: %d files that nobody has read for %d days were deleted (%d MB)",
            folder, dropped, KEPT_DAYS, round(size / 1e6),
        )  # fmt: skip


def _in_memory(
    build: Callable[[BinaryIO, dict[str, Any]], None], dtypes: Mapping[str, str], origin: dict[str, Any]
) -> ArrayFile:
    stream = io.BytesIO()
    build(stream, origin)
    return ArrayFile(stream.getvalue(), dtypes)


def _from_cache(place: Path, dtypes: Mapping[str, str], origin: dict[str, Any]) -> ArrayFile | None:
    try:
        if not place.is_file():
            return None
        arrays = ArrayFile(place, dtypes)
    except (SegkitError, OSError) as error:
        logger.warning("%s: this cache is made anew (%s)", place, error)
        return None
    return arrays if arrays.facts.get("origin") == origin else None
