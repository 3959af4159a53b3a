"""Every path a user gives: local, http(s), ``segkit://NAME`` for a file that comes with segkit, or ``detectron2://``."""

from __future__ import annotations

import os
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from iopath.common.file_io import HTTPURLHandler, PathHandler, PathManager

from segkit.utils.errors import SegkitError, nearest
from segkit.utils.missing_files import other_spellings, spelling_difference

PACKAGE_PREFIX = "segkit://"
DETECTRON2_PREFIX = "detectron2://"
DETECTRON2_ZOO = "https://dl.fbaipublicfiles.com/detectron2/"


@lru_cache(maxsize=1)
def packaged_configs() -> Path:
    """The folder of the configs that come with segkit.

    Installed, they lie inside the package; in a checkout (or an editable install of one) beside it.
    """
    package = Path(__file__).resolve().parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


class PackagedFileHandler(PathHandler):
    """Reads ``segkit://quickstart.yaml`` from the packaged configs; read only."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PACKAGE_PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(packaged_configs() / path[len(PACKAGE_PREFIX) :])

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        assert mode in ("r", "rb"), f"{PACKAGE_PREFIX} files can only be read"
        return open(self._get_local_path(path), mode, buffering, **kwargs)

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return os.path.exists(self._get_local_path(path))

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return os.path.isfile(self._get_local_path(path))

    def _isdir(self, path: str, **kwargs: Any) -> bool:
        return os.path.isdir(self._get_local_path(path))

    def _ls(self, path: str, **kwargs: Any) -> list[str]:
        return sorted(os.listdir(self._get_local_path(path)))


class Detectron2ZooHandler(PathHandler):
    """Downloads ``detectron2://ImageNetPretrained/MSRA/R-50.pkl`` from Detectron2's model zoo; read only."""

    def _get_supported_prefixes(self) -> list[str]:
        return [DETECTRON2_PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return PATHS.get_local_path(DETECTRON2_ZOO + path[len(DETECTRON2_PREFIX) :], force, **kwargs)


PATHS = PathManager()
PATHS.register_handler(HTTPURLHandler())
PATHS.register_handler(Detectron2ZooHandler())
PATHS.register_handler(PackagedFileHandler())


def local_path(path: str | os.PathLike[str], what: str = "file") -> Path:
    """The existing local file or folder behind ``path``; URLs are downloaded once into iopath's cache.

    Args:
        path: a local path (``~`` is the home folder), an http(s) URL, ``segkit://NAME`` or
            ``detectron2://NAME``.
        what: what it is to the user, for the message: ``"config"``, ``"COCO annotation file"``.
    Raises:
        SegkitError: it does not exist (similar names beside it are listed) or cannot be downloaded.
    """
    text = os.path.expanduser(os.fspath(path))
    if not text:
        raise SegkitError(f"the path of the {what} is empty", value=text)
    try:
        local = Path(PATHS.get_local_path(text))
        local.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # told below, with what there is instead
    except (OSError, ValueError) as error:  # requests' and urllib's errors, too long a name, a null byte
        raise SegkitError(f"cannot get the {what} '{path}': {error}", value=str(path)) from error
    if not local.exists():
        raise SegkitError(f"the {what} '{path}' does not exist{_respelt(text) or _beside(local)}", value=str(path))
    return local


def _respelt(path: str) -> str:
    """What there is under another spelling of a path, with other slashes for instance; empty where nothing is."""
    for spelling in other_spellings(path):
        try:
            if os.path.exists(spelling):
                return f": there is '{spelling}' instead; {spelling_difference(path, spelling)}"
        except ValueError:  # a null byte
            continue
    return ""


def _beside(missing: Path) -> str:
    """What there is instead of a missing path: similar names, or the first folder on the way that is missing too."""
    folder = missing.parent
    if not folder.is_dir():
        while not folder.parent.is_dir():
            folder = folder.parent
        return f": there is no folder '{folder}'{_similar(folder)}"
    return _similar(missing)


def _similar(missing: Path) -> str:
    try:
        names = [entry.name for entry in missing.parent.iterdir()]
    except OSError:
        return ""
    near = nearest(missing.name, names)
    if not near:
        return ""
    same = [name for name in near if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", missing.name)]
    how = f", and {spelling_difference(missing.name, same[0])}" if same else ""
    return f"; beside it there is {', '.join(repr(name) for name in near)}{how}"
