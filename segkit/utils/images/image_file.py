"""An image file, of any format: its size and its samples, whole or by window."""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segkit.utils.errors import SegkitError
from segkit.utils.images.calibration import PixelSize
from segkit.utils.images.containers import open_container
from segkit.utils.images.image_cache import ImageCache
from segkit.utils.images.image_source import ImageSource, Window, stored_window
from segkit.utils.images.pillow_decoder import PillowSource
from segkit.utils.images.planes import ONE_PLANE, Planes, check_single_plane
from segkit.utils.images.stored_image import LIMIT_HINT, StoredImage, upright, upright_size
from segkit.utils.images.suffixes import is_image_folder
from segkit.utils.images.tiff import TiffSource, is_tiff
from segkit.utils.images.tile_cache import TileCache
from segkit.utils.paths.hints import why_unusable

LAZY_PIXELS = 4096 * 4096  # images with more are read by window, if their format allows it
MAX_OPEN = 16  # large files that a process keeps open
MAX_KNOWN = 1 << 16  # files of which a process remembers that they are not large
MAX_REMEMBERED = 4096  # large files of which a process remembers what was computed


class ImageFile:
    """One image of a file, read whole or by window.

    Large files (:attr:`is_large`) stay open in the process, ``MAX_OPEN`` at most, so that their header is parsed once. A
    forked process opens them itself. Every failure is a SegkitError that names the file, and the window.

    Args:
        path: of the file; a folder for Zarr.
        planes: which image of a file with several.
        cache: keeps the decoded tiles of a large file; None: they are decoded for each window.
    """

    def __init__(
        self, path: str | os.PathLike[str], planes: Planes = ONE_PLANE, cache: ImageCache | None = None
    ) -> None:
        self.path = path
        self.planes = planes
        self.cache = cache

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the upright image; reads the header only where possible."""
        with self._source() as opened:
            return upright_size(*opened.source.size, opened.source.orientation)

    @property
    def orientation(self) -> int:
        """1 to 8, as in EXIF: how the stored samples are turned and mirrored; ``read`` applies it."""
        with self._source() as opened:
            return opened.source.orientation

    @property
    def pixel_size(self) -> PixelSize | None:
        """Of the upright image; None if the file does not say it."""
        with self._source() as opened:
            found = opened.source.pixel_size
            return None if found is None else found.turned(opened.source.orientation)

    @property
    def is_large(self) -> bool:
        """Whether data sets read it by window.

        It has more than ``LAZY_PIXELS``, or is a slide or Zarr.
        """
        if _OPEN_FILES.is_small(self.path, self.planes):
            return False
        with self._source() as opened:
            return opened.is_large

    def read(self, window: Window | None = None) -> StoredImage:
        """The stored samples of a window, upright; None: of the whole image.

        The window is decoded from the strips, tiles or chunks that it touches, if the format has them, and from the whole
        image otherwise. Pillow's limit of pixels applies to what is decoded.

        Raises:
            SegkitError: the file cannot be read; the window is not inside the image.
        """
        with self._source() as opened:
            return self._read(opened, window)

    def read_unless_large(self) -> StoredImage | None:
        """The whole image, upright; None if it is large. The file is opened once for both."""
        with self._source() as opened:
            return None if opened.is_large else self._read(opened, None)

    def remember(self, key: str, compute: Callable[[], Any]) -> Any:
        """The value of ``compute``, once for a large file; kept when the file is closed."""
        with self._source() as opened:
            if key in opened.memory:
                return opened.memory[key]
        value = compute()
        with self._source() as opened:
            opened.memory[key] = value
        return value

    def _read(self, opened: _Opened, window: Window | None) -> StoredImage:
        source, stored = opened.source, None
        if window is not None:
            height, width = upright_size(*source.size, source.orientation)
            x0, y0, x1, y1 = window
            if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
                raise SegkitError(
                    f"{self.path}: the window {window} is not inside the image of {width} x {height} pixels"
                )
            stored = stored_window(window, (height, width), source.orientation)
        try:
            if stored is not None and self.cache is not None and opened.is_large and source.tile is not None:
                image = opened.tile_cache(self).read(source, stored)
            else:
                image = source.read(stored)
        except (RuntimeError, ValueError, OSError) as error:
            if window is None or isinstance(error, SegkitError):
                raise
            raise ValueError(f"the window {window}: {_one_line(error)}") from error
        return replace(image, pixels=upright(image.pixels, image.orientation), orientation=1)

    @contextmanager
    def _source(self) -> Iterator[_Opened]:
        """The open file, from those of the process if it is large."""
        try:
            with _OPEN_FILES.borrow(self.path, self.planes) as opened:
                yield opened
        except SegkitError:
            raise
        except Exception as error:  # decoders raise errors of many types; each means that the file cannot be read
            from PIL import Image

            if isinstance(error, Image.DecompressionBombError):
                text = f"{_one_line(error)}{LIMIT_HINT}"
            elif isinstance(error, PermissionError):
                text = "cannot be read: permission denied"
            else:
                text = f"cannot be read as an image ({_one_line(error)})"
            raise SegkitError(f"{self.path}: {text}", value=str(self.path)) from error


def _open_source(path: str | os.PathLike[str], planes: Planes) -> ImageSource:
    """Chooses the decoder by suffix and first bytes."""
    if problem := _path_problem(path):
        raise SegkitError(f"{path}: {problem}", value=str(path))
    container = open_container(path, planes)
    if container is not None:
        return container
    if is_tiff(path):
        return TiffSource(path, str(path), planes)
    check_single_plane(planes, str(path))
    return PillowSource(path)


@dataclass
class _Opened:
    """An open image, for one thread at a time.

    Attributes:
        memory: what was computed from the file.
        tiles: its decoded tiles, if they are cached.
        closed: whether another thread has closed it, to keep the number of open files.
    """

    source: ImageSource
    stamp: tuple[int, ...] = ()
    lock: threading.RLock = field(default_factory=threading.RLock)
    memory: dict[str, Any] = field(default_factory=dict)
    tiles: TileCache | None = None
    closed: bool = False

    @property
    def is_large(self) -> bool:
        source = self.source
        return source.always_lazy or (source.windowed and math.prod(source.size) > LAZY_PIXELS)

    def tile_cache(self, file: ImageFile) -> TileCache:
        """The cache of the tiles, opened when it is first needed."""
        assert file.cache is not None
        if self.tiles is None or self.tiles.cache is not file.cache:
            self.tiles = TileCache(file.cache, self.source, file.path, repr(file.planes))
        return self.tiles


class _OpenFiles:
    """The large files that this process has open, the last used ones."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[str, Planes], _Opened] = OrderedDict()
        self._small: dict[tuple[str, Planes], tuple[int, ...]] = {}  # stamps of files that are not large
        self._memories: OrderedDict[tuple[str, Planes, tuple[int, ...]], dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def is_small(self, path: str | os.PathLike[str], planes: Planes) -> bool:
        """Whether a file is known not to be large, without opening it again."""
        stamp = self._small.get((os.path.abspath(path), planes))
        return stamp is not None and stamp == _stamp(path)

    @contextmanager
    def borrow(self, path: str | os.PathLike[str], planes: Planes) -> Iterator[_Opened]:
        """An open file; it is closed afterwards unless it is large."""
        key, stamp = (os.path.abspath(path), planes), _stamp(path)
        with self._lock:
            found = self._files.get(key)
            if found is not None and found.stamp == stamp:
                self._files.move_to_end(key)
        if found is None or found.stamp != stamp:
            found = _Opened(_open_source(path, planes), stamp)
            if not found.is_large:
                if len(self._small) >= MAX_KNOWN:
                    self._small.clear()
                self._small[key] = stamp
                try:
                    yield found
                finally:
                    found.source.close()
                return
            found.memory = self._memory(key, stamp)
            self._keep(key, found)
        with found.lock:
            if found.closed:
                found.source, found.closed = _open_source(path, planes), False
                self._keep(key, found)
            yield found

    def _memory(self, key: tuple[str, Planes], stamp: tuple[int, ...]) -> dict[str, Any]:
        """What was computed from a file, which may have been closed since."""
        with self._lock:
            memory = self._memories.setdefault((*key, stamp), {})
            self._memories.move_to_end((*key, stamp))
            if len(self._memories) > MAX_REMEMBERED:
                self._memories.popitem(last=False)
        return memory

    def _keep(self, key: tuple[str, Planes], opened: _Opened) -> None:
        with self._lock:
            replaced = self._files.get(key)
            self._files[key] = opened
            self._files.move_to_end(key)
            excess = [self._files.popitem(last=False)[1] for _ in range(len(self._files) - MAX_OPEN)]
        excess += [replaced] if replaced is not None and replaced is not opened else []
        for old in excess:
            if old.lock.acquire(timeout=60):  # another thread may be reading
                old.source.close()
                old.closed = True
                old.lock.release()

    def forget(self) -> None:
        """In a forked process: the parent's handles share their position in the file, so they are not used."""
        self._files, self._lock = OrderedDict(), threading.Lock()


_OPEN_FILES = _OpenFiles()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_OPEN_FILES.forget)


def _stamp(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Size and time of change, by which another file at the same path is noticed; empty if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _path_problem(path: str | os.PathLike[str]) -> str | None:
    """Why a path cannot be an image: missing, a folder, or empty.

    Returns None if it may be one; content is not read.
    """
    if os.path.isdir(path):
        return None if is_image_folder(Path(path)) else "is a folder, not an image"
    if not os.path.isfile(path):
        problem = why_unusable(path)
        return (
            problem.replace("does not exist", "there is no such image file", 1)
            if problem.startswith("does")
            else problem
        )
    return None if os.path.getsize(path) else "cannot be read as an image (it is empty, 0 bytes)"


def _one_line(error: Exception) -> str:
    """An exception's text on one line; its type if it has no text."""
    return " ".join(str(error).split()) or type(error).__name__
