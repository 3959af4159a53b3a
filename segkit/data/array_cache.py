"""Caches arrays that are made from large annotation files; each file is parsed once.

joblib and diskcache store pickles, which run code when they are read, and which processes cannot share. A cached
:class:`~segkit.data.array_file.ArrayFile` of 1,000,000 polygons (a JSON of 720 MB) opens in 0.33 s with 0.9 MiB of
memory, where parsing takes 30 s and 70 MiB (docs/benchmarks.md).
"""

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

MAX_UNREAD_DAYS = 60  # cache files that were not read for this long are deleted
MIN_CACHED_BYTES = 32 << 20  # smaller annotation files are parsed in about a second and not cached


def cache_folder() -> Path:
    """The cache folder: ``$SEGKIT_CACHE``, else ``segkit`` in the user's cache folder.

    The latter is ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if chosen := os.environ.get("SEGKIT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "segkit"


def cached_arrays(
    file: Path, build: Callable[[BinaryIO, dict[str, Any]], None], dtypes: Mapping[str, str], layout: str
) -> ArrayFile:
    """The arrays made from ``file``, read from the cache if it has them.

    Arrays of a small file are held in memory. Arrays of a large file are written to the cache folder and memory-mapped;
    if that fails, a warning says why and they are held in memory. Writing a cache file deletes those that were not read
    for MAX_UNREAD_DAYS.

    Args:
        file: the annotation file; its path, size and modification time identify it.
        build: reads the file and writes its arrays to the stream, by an ``ArrayWriter``. Its second argument must be in
            the writer's facts, as ``origin``.
        dtypes: type of each array, by name.
        layout: name and version of the arrays' meaning; cache files of another layout are not used.
    """
    stat, path = file.stat(), str(file.resolve())
    origin = {"layout": layout, "path": path, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    if stat.st_size < MIN_CACHED_BYTES:
        return _in_memory(build, dtypes, origin)
    cache_file = cache_folder() / f"{file.stem}-{hashlib.sha256(path.encode()).hexdigest()[:12]}.arrays"
    cached = _from_cache(cache_file, dtypes, origin)
    if cached is not None:
        logger.info("%s: read from the cache (%s)", file, cache_file)
        with contextlib.suppress(OSError):  # another user's file
            os.utime(cache_file)  # the time of the last reading, for _delete_unread
        return cached
    try:
        with atomic_write(cache_file) as temporary, open(temporary, "wb") as stream:
            build(stream, origin)
        arrays = ArrayFile(cache_file, dtypes)
    except OSError as error:
        logger.warning("%s: cannot be written to the cache (%s), is held in memory", file, error)
        return _in_memory(build, dtypes, origin)
    logger.info("%s: written to the cache (%s)", file, cache_file)
    _delete_unread(cache_file.parent)
    return arrays


def _delete_unread(folder: Path) -> None:
    """Deletes cache files that were not read for MAX_UNREAD_DAYS.

    The folder may hold other files of the user.
    """
    oldest, deleted, size = time.time() - MAX_UNREAD_DAYS * 86400, 0, 0
    for cache_file in folder.glob("*-" + "[0-9a-f]" * 12 + ".arrays"):
        with contextlib.suppress(OSError):  # another process deleted it, or it is another user's
            stat = cache_file.stat()
            if stat.st_mtime < oldest:
                cache_file.unlink()
                deleted, size = deleted + 1, size + stat.st_size
    if deleted:
        logger.info(
            "%s: deleted %d files that were not read for %d days (%d MB)",
            folder, deleted, MAX_UNREAD_DAYS, round(size / 1e6),
        )  # fmt: skip


def _in_memory(
    build: Callable[[BinaryIO, dict[str, Any]], None], dtypes: Mapping[str, str], origin: dict[str, Any]
) -> ArrayFile:
    stream = io.BytesIO()
    build(stream, origin)
    return ArrayFile(stream.getvalue(), dtypes)


def _from_cache(cache_file: Path, dtypes: Mapping[str, str], origin: dict[str, Any]) -> ArrayFile | None:
    """The arrays of a cache file.

    Returns None if it does not exist, is damaged, or was made from another file.
    """
    try:
        if not cache_file.is_file():
            return None
        arrays = ArrayFile(cache_file, dtypes)
    except (SegkitError, OSError) as error:
        logger.warning("%s: this cache file is written again (%s)", cache_file, error)
        return None
    return arrays if arrays.facts.get("origin") == origin else None
