"""Resolves paths of the user to local files, and checks paths to be written.

A path is local, an ``http(s)://`` URL, ``segkit://NAME`` (a config that comes with segkit) or ``detectron2://NAME`` (a
file of Detectron2's model zoo).
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import unquote

from iopath.common.file_io import HTTPURLHandler, PathHandler, PathManager

from segkit.utils.errors import SegkitError
from segkit.utils.paths.hints import same_name, why_unusable
from segkit.utils.paths.spellings import same_text

Kind = Literal["file", "folder"]
PACKAGE_PREFIX = "segkit://"
FILE_PREFIX = "file://"
DETECTRON2_PREFIX = "detectron2://"
DETECTRON2_ZOO = "https://dl.fbaipublicfiles.com/detectron2/"
REMOTE_PREFIXES = ("http://", "https://", DETECTRON2_PREFIX)
KNOWN_PREFIXES = (*REMOTE_PREFIXES, PACKAGE_PREFIX, FILE_PREFIX)
MAX_NAME_BYTES = 255  # of one file or folder name, on nearly all file systems
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@lru_cache(maxsize=1)
def packaged_configs() -> Path:
    """The folder of the configs that come with segkit.

    It is inside the installed package, and beside the package in a checkout.
    """
    package = Path(__file__).resolve().parents[2]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


class PackagedFileHandler(PathHandler):
    """Opens ``segkit://quickstart.yaml`` in the packaged configs, for reading only."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PACKAGE_PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(packaged_configs() / path[len(PACKAGE_PREFIX) :])

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        assert mode in ("r", "rb"), f"{PACKAGE_PREFIX} files can only be read"
        if "b" not in mode:
            kwargs.setdefault("encoding", "utf-8")
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
    """Downloads ``detectron2://ImageNetPretrained/MSRA/R-50.pkl`` from Detectron2's model zoo."""

    def _get_supported_prefixes(self) -> list[str]:
        return [DETECTRON2_PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return PATHS.get_local_path(DETECTRON2_ZOO + path[len(DETECTRON2_PREFIX) :], force, **kwargs)


PATHS = PathManager()
PATHS.register_handler(HTTPURLHandler())
PATHS.register_handler(Detectron2ZooHandler())
PATHS.register_handler(PackagedFileHandler())


def local_path(path: str | os.PathLike[str], what: str = "file", *, kind: Kind | None = None) -> Path:
    """The existing local file or folder of ``path``.

    URLs are downloaded once into iopath's cache.

    A file whose name has another Unicode form (macOS decomposes accents) is found too.

    Args:
        path: a local path (``~`` is the home folder), a URL (http, https, file), ``segkit://NAME`` or
            ``detectron2://NAME``.
        what: its title in messages: ``"config"``, ``"COCO annotation file"``.
        kind: the expected kind; None: either.
    Raises:
        SegkitError: the path does not exist (the message names the nearest that does), cannot be read, is of another
            kind, or cannot be downloaded.
    """
    text = _text(path, what)
    try:
        local = Path(PATHS.get_local_path(text))
        local.stat()
    except (OSError, ValueError) as error:  # includes the errors of requests and urllib
        scheme = SCHEME.match(text)
        if scheme and not text.startswith(KNOWN_PREFIXES):
            raise SegkitError(
                f"the {what} '{path}' cannot be fetched: '{scheme[0]}' is not one of {', '.join(KNOWN_PREFIXES)}; "
                "or give a local path",
                value=str(path),
                choices=KNOWN_PREFIXES,
            ) from error
        if text.startswith(REMOTE_PREFIXES):
            raise SegkitError(f"cannot get the {what} '{path}': {error}", value=str(path)) from error
        local = Path(PATHS.get_local_path(text))
        other_form = _other_unicode_form(local)
        if other_form is None:
            raise SegkitError(f"the {what} '{path}' {why_unusable(local)}", value=str(path)) from error
        local = other_form
    check_kind(local, f"the {what} '{path}'", kind)
    return local


def check_kind(path: Path, subject: str, kind: Kind | None) -> None:
    """Raises a SegkitError if an existing path is of another kind or not readable."""
    if kind == "file" and os.path.isdir(path):
        names = (
            sorted(name for name in os.listdir(path) if not name.startswith("."))[:3]
            if os.access(path, os.R_OK)
            else []
        )
        inside = f"; it contains {', '.join(map(repr, names))}" if names else ""
        raise SegkitError(f"{subject} is a folder, not a file{inside}", value=str(path))
    if kind == "folder" and not os.path.isdir(path):
        raise SegkitError(f"{subject} is not a folder but a file; did you mean '{path.parent}'?", value=str(path))
    if kind is not None and not os.access(path, os.R_OK):
        raise SegkitError(f"{subject} cannot be read: permission denied", value=str(path))


def output_folder(path: str | os.PathLike[str], what: str) -> Path:
    """Checks the path of a folder to be written to, without creating it.

    ``~`` is the home folder.

    Args:
        what: the flag or key that holds the path, for the message.
    Raises:
        SegkitError: the name is empty or the name of a file, or the folder cannot be written to.
    """
    text = _text(path, what, names="folder")
    if text.startswith(REMOTE_PREFIXES):
        raise SegkitError(f"{what}: '{path}' is a URL; expected a local folder", value=str(path))
    folder = Path(text)
    if text.startswith("~") and folder.parts[0] not in os.listdir():
        raise SegkitError(f"{what}: '{path}' cannot be created: there is no user of that name", value=str(path))
    if _is_too_long(text):
        raise SegkitError(f"{what}: '{path}' is longer than this file system allows", value=str(path))
    try:
        existing = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
        if not os.path.isdir(existing):
            problem = (
                f"'{existing}' {'is a file, not a folder' if os.path.exists(existing) else why_unusable(existing)}"
            )
        elif not os.access(existing, os.W_OK | os.X_OK):
            problem = f"'{existing}' cannot be written to: permission denied"
        else:
            return folder
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    raise SegkitError(f"{what}: '{path}' cannot be created or written to: {problem}", value=str(path))


def prepare_folder(folder: Path, what: str) -> None:
    """Creates a folder and writes a temporary file to it; raises a SegkitError if either fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SegkitError(
            f"{what}: '{folder}' cannot be created or written to: {error.strerror}", value=str(folder)
        ) from error


def output_file(path: str | os.PathLike[str], what: str) -> Path:
    """Checks the path of a file to be written, without creating it.

    Args:
        what: the flag or key that holds the path, for the message.
    Raises:
        SegkitError: as :func:`output_folder` for the file's folder, or the path is a folder.
    """
    text = _text(path, what, names="file")
    if text.endswith(("/", os.sep)) or os.path.isdir(text):  # isdir is False for a name that is too long
        raise SegkitError(f"{what}: '{path}' is a folder; expected the name of a file", value=str(path))
    output_folder(Path(text).parent, what)
    if _is_too_long(text):
        raise SegkitError(f"{what}: '{path}' is longer than this file system allows", value=str(path))
    return Path(text)


def _is_too_long(path: str) -> bool:
    """Whether a path is too long for the file system; its folders need not exist yet."""
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in Path(path).parts):
        return True
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def _text(path: str | os.PathLike[str], what: str, *, names: str = "") -> str:
    """A path as text, with ``~`` and ``file://`` resolved.

    Raises a SegkitError if it is empty or not text.
    """
    subject = f"{what}: the name of the {names}" if names else f"the path of the {what}"
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise SegkitError(f"{subject} must be text, not {path!r}", value=path)
    text = os.fspath(path)
    if not text.strip():
        raise SegkitError(f"{subject} is empty", value=text)
    if "\0" in text:
        raise SegkitError(f"{subject} has a null character: {text!r}", value=text)
    if text.startswith(FILE_PREFIX):
        text = unquote(text.removeprefix(FILE_PREFIX).removeprefix("localhost"))
    return os.path.expanduser(text)


def _other_unicode_form(path: Path) -> Path | None:
    """The existing path that has the same text in another Unicode form; None if there is none."""
    found = None if os.path.lexists(path) else same_name(path)
    return found if found is not None and same_text(str(found), str(path)) else None
