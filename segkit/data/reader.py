"""Builds the reader of image files: planes, channels, intensity, cache."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segkit.config.data_section import DataConfig
from segkit.config.spec import to_plain
from segkit.data.array_cache import cache_folder
from segkit.registry import INTENSITY_REGISTRY
from segkit.utils import distributed
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageCache, ImageReader, Planes

try:
    import fcntl
except ImportError:  # Windows: folders of killed runs stay in the temporary folder
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)
SHARED_MEMORY = Path("/dev/shm")  # a file system in memory, on Linux
PREFIX = "segkit_images_"
OWNER = "owner"  # locked by the process that made the folder, as long as it lives
SHARE_OF_FREE = 0.5  # of the free memory: worker processes hand over their batches in it too


def build_reader(data: DataConfig, *, intensity: Mapping[str, Any] | None = None, cache: bool = False) -> ImageReader:
    """Builds the reader of ``data.planes``, ``data.channels`` and ``data.intensity``.

    Args:
        data: the section of a configuration.
        intensity: replaces ``data.intensity``.
        cache: whether to open ``data.cache`` as well.
    Raises:
        SegkitError: an argument of the rule is wrong, or ``data.channels`` is empty.
    """
    if data.channels is not None and len(data.channels) == 0:
        raise SegkitError(
            "data.channels is empty; expected numbers or names of channels, all, or null", key="data.channels"
        )
    spec = data.intensity if intensity is None else intensity
    rule = INTENSITY_REGISTRY.build(spec, path="data.intensity")
    planes = Planes(data.planes.page, data.planes.time, data.planes.z, data.planes.scene)
    reader = ImageReader(planes, data.channels, rule)
    if not cache or data.cache is None:
        return reader
    reading = json.dumps([repr(reader.planes), to_plain(data.channels), to_plain(spec)], sort_keys=True)
    return ImageReader(reader.planes, reader.channels, rule, open_cache(data.cache, data.cache_gb, reading))


def open_cache(kind: str, gigabytes: float, reading: str) -> ImageCache | None:
    """Opens the cache of decoded images; None, after a warning, if its folder cannot be used.

    Args:
        kind: ``memory``: a folder of this run in ``/dev/shm`` (else in the temporary folder), removed at its end.
            ``disk``: the folder ``images`` in segkit's cache folder, which later runs find.
        gigabytes: the most that its entries take, over all processes of the run.
        reading: see :class:`~segkit.utils.images.ImageCache`.
    """
    budget = int(gigabytes * 1e9)
    try:
        if kind == "memory":  # processes of a run do not share a folder: they see different images
            folder, owner = _memory_folder()
            free = shutil.disk_usage(folder).free
            budget = min(budget, int(SHARE_OF_FREE * free)) // distributed.world_size()
            cache = ImageCache(folder, budget, reading)
            weakref.finalize(cache, _remove, folder, os.getpid(), owner)
        else:
            folder = cache_folder() / "images"
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
            cache = ImageCache(folder, budget, reading)
        entries, size = cache.size_on_disk()
    except OSError as error:
        logger.warning("data.cache: %s cannot be used (%s); images are decoded each time", kind, error)
        return None
    logger.info(
        "data.cache: %s of decoded images in %s, of which %s are in use (%d images); %s are free there",
        _size_text(budget), folder, _size_text(size), entries, _size_text(free),
    )  # fmt: skip
    return cache


def _memory_folder() -> tuple[Path, Any]:
    """A new folder in memory, and the open file whose lock says that its process lives.

    Folders of processes that were killed are removed.
    """
    parent = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    for old in parent.glob(f"{PREFIX}*"):
        if _is_orphan(old):
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    owner = open(folder / OWNER, "wb")  # noqa: SIM115  # held as long as the cache
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return folder, owner


def _is_orphan(folder: Path) -> bool:
    """Whether the process that made a folder, and those that it forked, have ended."""
    if fcntl is None:
        return False
    try:
        if folder.stat().st_uid != os.getuid():
            return False
        with open(folder / OWNER, "rb") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:  # locked, of another user, or just being made
        return False


def _remove(folder: Path, pid: int, owner: Any) -> None:
    if os.getpid() == pid:  # not in a worker process, which inherits the finalizer
        shutil.rmtree(folder, ignore_errors=True)


def _size_text(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"
