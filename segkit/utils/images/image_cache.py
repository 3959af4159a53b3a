"""Decoded images in files that worker processes share: in memory (``/dev/shm``) or on disk.

Whichever process decodes an image first writes it, to a temporary name that is then renamed, so that readers see whole
entries only. An entry belongs to the path, size and modification time of its file and to how the file is read; another
version of the file has another entry. Entries are numbers behind a JSON header, checked by length and CRC, never pickles.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

try:
    import fcntl
except ImportError:  # Windows: processes may together exceed the budget by a few images
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)
LAYOUT = 1  # of the files, and of the meaning of their pixels
SUFFIX = ".pixels"  # an image
TILES = ".tiles"  # the tiles of a large image, in a sparse file: segkit.utils.images.tile_cache
TEMPORARY = ".part"
DTYPES = {"uint8": np.uint8, "float32": np.float32}
OLDEST_TEMPORARY = 3600  # seconds; no image takes as long to write
HEADER = 512  # bytes of JSON, padded with spaces
USED = "used"  # the file that counts the bytes of all entries


class ImageCache:
    """Decoded images in a folder, up to a number of bytes, for many processes.

    When the budget is spent, entries that no run has read since this cache was opened are deleted. If there are none, further
    images are decoded each time: to replace entries of the same run would save nothing, since each epoch reads all of them.

    Args:
        folder: exists; files of another suffix in it are left alone.
        budget: bytes of all entries.
        reading: how files are read (planes, channels, intensity), as text; part of an entry's identity.
    """

    def __init__(self, folder: Path, budget: int, reading: str) -> None:
        self.folder = Path(folder)
        self.budget = budget
        self.reading = reading
        self.hits = self.misses = 0  # of this process
        self._full = False
        self._write(self.folder / USED, b"")
        with self._counter() as counter:
            entries = self._entries()
            counter.used = sum(size for _, size, _ in entries)
        self._remove_leftovers()
        self._opened = max((mtime for *_, mtime in entries), default=0.0)

    def read(self, path: str | os.PathLike[str], decode: Callable[[Any], torch.Tensor]) -> torch.Tensor:
        """The image of a file, from the cache or by ``decode``, which then fills the cache.

        Args:
            path: of the file.
            decode: returns a uint8 or float32 tensor [C, H, W] of a path.
        """
        entry = self.entry(path, self.reading, SUFFIX)
        if entry is None:
            return decode(path)  # raises the error that explains it
        image = _load(entry)
        if image is not None:
            self.hits += 1
            return image
        self.misses += 1
        image = decode(path)
        self._store(entry, image)
        return image

    def entry(self, path: str | os.PathLike[str], reading: str, suffix: str) -> Path | None:
        """The entry of a file that is read in one way; None if the file cannot be accessed."""
        try:
            stat = os.stat(path)
        except OSError:
            return None
        origin = json.dumps(
            [LAYOUT, os.path.realpath(path), stat.st_size, stat.st_mtime_ns, reading], ensure_ascii=True
        )
        return self.folder / (hashlib.sha256(origin.encode()).hexdigest()[:40] + suffix)

    def size_on_disk(self) -> tuple[int, int]:
        """Number and bytes of all entries."""
        sizes = [size for _, size, _ in self._entries()]
        return len(sizes), sum(sizes)

    def reserve(self, size: int) -> bool:
        """Adds ``size`` to the bytes used if they fit; deletes entries of earlier runs for it."""
        if self._full:
            return False
        with self._counter() as counter:
            if counter.used + size > self.budget:
                counter.used = self._delete_unread(self.budget - size)
            if counter.used + size > self.budget:
                self._full = True
                return False
            counter.used += size
            return True

    def stop_filling(self, error: OSError) -> None:
        """Ends the filling of the cache, with one warning: the disk is full, or fails."""
        if not self._full:
            logger.warning(
                "data.cache: %s cannot be written (%s); images that are not in the cache are decoded each time",
                self.folder, error.strerror or error,
            )  # fmt: skip
        self._full = True

    def capacity(self, images: int) -> str:
        """How many of ``images`` images fit, by the entries of whole images: for the log."""
        sizes = [size for path, size, _ in self._entries() if path.suffix == SUFFIX]
        entries, size = len(sizes), sum(sizes)
        if not entries:
            return "no image is in it yet"
        fitting = self.budget * entries // max(size, 1)
        share = f"all {images:,}" if fitting >= images else f"about {fitting:,} of the {images:,}"
        return f"{share} images fit, at {size / entries / 1e6:.1f} MB each"

    def _store(self, entry: Path, image: torch.Tensor) -> None:
        """Writes an entry if there is room."""
        planar = image.is_contiguous()  # the layout is kept: the last bit of a resized image may depend on it
        rows = np.ascontiguousarray((image if planar else image.permute(1, 2, 0)).numpy())
        if rows.dtype.name not in DTYPES:
            return
        data = _bytes_of(rows)
        facts = {"dtype": rows.dtype.name, "shape": rows.shape, "planar": planar, "crc": zlib.crc32(data)}
        try:
            if self.reserve(HEADER + len(data)):
                self._write(entry, json.dumps(facts).encode().ljust(HEADER), data)
        except OSError as error:
            self.stop_filling(error)

    def _write(self, path: Path, *parts: Any) -> None:
        """Writes a file under a temporary name and renames it; an existing file of no content stays."""
        if not parts[0] and path.exists():
            return
        temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
        try:
            with open(temporary, "wb") as file:
                for part in parts:
                    file.write(part)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def _delete_unread(self, target: int) -> int:
        """Deletes entries that were not read since the cache was opened, the oldest first; returns the bytes left."""
        entries = sorted(self._entries(), key=lambda item: item[2])
        used = sum(size for _, size, _ in entries)
        for path, size, mtime in entries:
            if used <= target or mtime > self._opened:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                used -= size
        return used

    def _remove_leftovers(self) -> None:
        """Removes the temporary files of processes that were killed while writing."""
        for path in self.folder.glob(f"*{TEMPORARY}"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > OLDEST_TEMPORARY:
                    path.unlink()

    def _entries(self) -> list[tuple[Path, int, float]]:
        """Path, bytes and time of last use of each entry."""
        found = []
        with os.scandir(self.folder) as files:
            for file in files:
                if file.name.endswith((SUFFIX, TILES)):
                    with contextlib.suppress(OSError):  # another process deleted it
                        stat = file.stat()
                        size = stat.st_size if file.name.endswith(SUFFIX) else _size_of_sparse(stat)
                        found.append((Path(file.path), size, stat.st_mtime))
        return found

    @contextlib.contextmanager
    def _counter(self) -> Iterator[_Counter]:
        """The bytes used by all processes, locked for the block and written at its end."""
        with open(self.folder / USED, "r+b") as file:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
            text = file.read().strip()
            counter = _Counter(int(text) if text.isdigit() else 0)
            yield counter
            file.seek(0)
            file.write(f"{counter.used:<24d}".encode())
            file.flush()


class _Counter:
    """A number of bytes."""

    def __init__(self, used: int) -> None:
        self.used = used


def _load(entry: Path) -> torch.Tensor | None:
    """The image of an entry, laid out as it was stored; None if there is none, or it is damaged."""
    try:
        with open(entry, "rb") as file:
            facts = json.loads(file.read(HEADER))
            shape, dtype = tuple(int(side) for side in facts["shape"]), DTYPES[facts["dtype"]]
            rows = np.empty(shape, dtype)
            if os.fstat(file.fileno()).st_size != HEADER + rows.nbytes or len(shape) != 3:
                return None
            file.readinto(_bytes_of(rows))
        if zlib.crc32(_bytes_of(rows)) != facts["crc"]:
            return None
        with contextlib.suppress(OSError):  # another user's entry
            os.utime(entry)
    except (OSError, ValueError, KeyError, TypeError, MemoryError):
        return None
    image = torch.from_numpy(rows)
    return image if facts.get("planar") else image.permute(2, 0, 1)


def _size_of_sparse(stat: os.stat_result) -> int:
    """Bytes that a sparse file takes."""
    blocks = getattr(stat, "st_blocks", None)  # not on Windows
    return stat.st_size if blocks is None else blocks * 512


def _bytes_of(rows: np.ndarray) -> memoryview:
    """The memory of a contiguous array, which may be empty."""
    return memoryview(rows.reshape(-1).view(np.uint8).data)
