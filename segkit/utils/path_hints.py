"""Why a path cannot be used, and the nearest one that can."""

from __future__ import annotations

import errno
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from segkit.utils.errors import nearest

QUOTES = "\"'`‘’“”"  # straight and typographic
MOST_FOLDERS = 200  # subfolders of a folder that are searched for a missing file's name


def why_unusable(path: str | os.PathLike[str]) -> str:
    """The predicate of a message about a path that cannot be opened: what is wrong, and the nearest path that exists.

    >>> why_unusable("images/A.png")
    "does not exist; did you mean 'images/a.png'? (upper and lower case differ)"
    """
    path = Path(path)
    try:
        path.stat()
    except OSError as error:
        code = error.errno
    except ValueError:
        return "is no path: it has a null character"
    else:
        return "exists"
    if code == errno.ELOOP:
        return "is a link that leads back to itself"
    if code == errno.ENAMETOOLONG:
        return "is longer than a path can be here"
    if os.path.islink(path):
        return f"is a link to '{os.readlink(path)}', which {'is not accessible' if code == errno.EACCES else 'does not exist'}"
    if code == errno.EACCES:
        return f"cannot be read: permission denied{_denied_at(path)}"
    if code == errno.ENOTDIR:
        return f"does not exist: '{_file_on_the_way(path)}' is a file, not a folder"
    return f"does not exist{nearest_existing(path)}"


def nearest_existing(path: str | os.PathLike[str]) -> str:
    """The end of a message about a path that does not exist: what exists instead; empty where nothing is like it.

    It looks for the same name with other case, Unicode form, slashes, quotes, spaces or suffix, with a variable or
    ``file://`` resolved, in the folders around it, and then for similar names beside it.
    """
    text = os.fspath(path)
    for candidate, difference in _respellings(text):
        found = same_name(candidate)
        if found is not None:
            notes = [note for note in (difference, _difference(candidate, str(found))) if note]
            reason = f" ({', '.join(notes)})" if notes else ""
            return f"; did you mean '{found}'?{reason}"
    missing = Path(text)
    elsewhere = _elsewhere(missing)
    if elsewhere is not None:
        return f"; there is '{elsewhere}'"
    if not os.path.isdir(missing.parent):
        folder = missing.parent
        while folder != folder.parent and not os.path.isdir(folder.parent):
            folder = folder.parent
        return f": there is no folder '{folder}'{_similar(folder)}"
    return _similar(missing)


def same_name(path: str | os.PathLike[str]) -> Path | None:
    """The existing path that is ``path`` but for case, Unicode form and spaces around its names; None where none is."""
    path = Path(path)
    current = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        step = current / part
        if not os.path.lexists(step):
            folded = _folded(part)
            try:
                alike = [name for name in sorted(os.listdir(current)) if _folded(name) == folded]
            except OSError:
                return None
            if not alike:
                return None
            equal = [name for name in alike if _composed(name) == _composed(part)]
            step = current / (equal or alike)[0]
        current = step
    return current if os.path.exists(current) else None


def same_text(first: str, second: str) -> bool:
    """Whether two names are the same text, maybe in two Unicode forms."""
    return _composed(first) == _composed(second)


def _respellings(text: str) -> Iterator[tuple[str, str]]:
    """What a path may have meant, and how that differs from it. Each respelling goes on from the one before."""
    yield text, ""
    differences: list[str] = []
    steps = (
        (lambda t: t.strip().strip(QUOTES).strip(), "without quotes and spaces around it"),
        (
            lambda t: unquote(re.sub("^file:(//(localhost)?(?=/))?", "", t)) if t.startswith("file:") else t,
            "without file:",
        ),
        (lambda t: os.path.expandvars(re.sub(r"%(\w+)%", r"${\1}", t)), "with its variable resolved"),
        (os.path.expanduser, "with ~ resolved"),
        (lambda t: t.replace("\\", "/"), "with slashes"),
        (unquote, "without % escapes"),
        (lambda t: t.lstrip("/"), "without the slash in front"),
    )
    for change, difference in steps:
        changed = change(text)
        if changed != text and changed:
            text = changed
            differences.append(difference)
            yield text, ", ".join(differences)


def _difference(given: str, found: str) -> str:
    if os.path.normpath(given) == os.path.normpath(found):
        return ""
    if same_text(given, found):
        return "its accents are stored in another Unicode form"
    if _composed(given).casefold() == _composed(found).casefold():
        return "upper and lower case differ"
    return "spaces differ"


def _elsewhere(missing: Path) -> Path | None:
    """The same file name with another image suffix, or in a folder near the missing one."""
    if missing.name in ("", "..") or missing.anchor == str(missing):
        return None
    try:
        for depth in range(1, len(missing.parts)):  # a folder too many in front
            shorter = Path(*missing.parts[depth:])
            if os.path.exists(shorter) and shorter.name == missing.name:
                return shorter
        folder = missing.parent
        if os.path.isfile(folder.parent / missing.name):
            return folder.parent / missing.name
        place = folder if os.path.isdir(folder) else folder.parent
        inside = sorted(child for child in place.iterdir() if os.path.isdir(child))[:MOST_FOLDERS]
        return next((child / missing.name for child in inside if os.path.exists(child / missing.name)), None)
    except OSError:
        return None


def _similar(missing: Path) -> str:
    """Names beside a missing one that are like it, those with the same stem first."""
    try:
        names = sorted(entry.name for entry in missing.parent.iterdir())
    except OSError:
        return ""
    stem = _folded(missing.stem)
    near = [name for name in names if stem and _folded(Path(name).stem) == stem][:3] or nearest(missing.name, names)
    return f"; beside it there is {', '.join(repr(name) for name in near)}" if near else ""


def _denied_at(path: Path) -> str:
    """The first folder on the way that may not be entered."""
    for parent in reversed(path.absolute().parents):
        if os.path.isdir(parent) and not os.access(parent, os.X_OK):
            return f" for the folder '{parent}'"
    return ""


def _file_on_the_way(path: Path) -> Path:
    return next(
        (parent for parent in reversed(path.parents) if os.path.exists(parent) and not os.path.isdir(parent)),
        path.parent,
    )


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _folded(text: str) -> str:
    return _composed(_composed(text).casefold()).strip()
