"""Explains why a path cannot be opened, and finds the nearest path that exists.

For lists of names in a folder see :mod:`segkit.utils.paths.missing_files`.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from segkit.utils.errors import nearest
from segkit.utils.paths.spellings import (
    BLANKS,
    ESCAPES,
    SLASHES,
    differences,
    folded,
    plain_parts,
    same_text,
    suggestion,
)

QUOTES = "\"'`‘’“”"  # straight and typographic
MAX_SEARCHED_FOLDERS = 200  # subfolders that are searched for the name of a missing file


def why_unusable(path: str | os.PathLike[str]) -> str:
    """Why a path cannot be opened, and the nearest path that exists; the predicate of a message.

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
        return "is longer than this file system allows"
    if os.path.islink(path):
        return f"is a link to '{os.readlink(path)}', which {'is not accessible' if code == errno.EACCES else 'does not exist'}"
    if code == errno.EACCES:
        return f"cannot be read: permission denied{_denied_at(path)}"
    if code == errno.ENOTDIR:
        return f"does not exist: '{_file_among_parents(path)}' is a file, not a folder"
    return f"does not exist{nearest_existing(path)}"


def nearest_existing(path: str | os.PathLike[str]) -> str:
    """The existing path that is most like a missing one, as the end of a message.

    It is empty if none is similar.

    The search goes on until something is found: the same name with other case, Unicode form, slashes, quotes or spaces,
    or with a variable or ``file://`` resolved; the same name in a nearby folder; similar names in the same folder.
    """
    text = os.fspath(path)
    for candidate, notes in _respellings(text):
        found = same_name(candidate)
        if found is not None:
            return suggestion([str(found)], [*notes, *_differences(candidate, str(found))])
    missing = Path(text)
    elsewhere = _find_in_other_folder(missing)
    if elsewhere is not None:
        return suggestion([str(elsewhere)], differences(text, str(elsewhere)))
    if not os.path.isdir(missing.parent):
        folder = missing.parent
        while folder != folder.parent and not os.path.isdir(folder.parent):
            folder = folder.parent
        return f": there is no folder '{folder}'{suggestion(_similar(folder))}"
    return suggestion(_similar(missing))


def same_name(path: str | os.PathLike[str]) -> Path | None:
    """The existing path that differs from ``path`` only in case, Unicode form or spaces.

    Returns None if there is none.
    """
    path = Path(path)
    current = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        step = current / part
        if not os.path.lexists(step):
            try:
                alike = [name for name in sorted(os.listdir(current)) if folded(name) == folded(part)]
            except OSError:
                return None
            if not alike:
                return None
            equal = [name for name in alike if same_text(name, part)]
            step = current / (equal or alike)[0]
        current = step
    return current if os.path.exists(current) else None


def _respellings(text: str) -> Iterator[tuple[str, list[str]]]:
    """Corrections of a path, each on top of the one before, with how they differ from it."""
    yield text, []
    notes: list[str] = []
    steps = (
        (str.strip, BLANKS),
        (lambda t: t.strip(QUOTES).strip(), "quotes around it"),
        (lambda t: unquote(re.sub("^file:(//(localhost)?(?=/))?", "", t)) if t.startswith("file:") else t, "a URL"),
        (lambda t: os.path.expandvars(re.sub(r"%(\w+)%", r"${\1}", t)), "a variable in it"),
        (os.path.expanduser, "~ in it"),
        (lambda t: t.replace("\\", "/"), SLASHES),
        (unquote, ESCAPES),
        (lambda t: t.lstrip("/"), "'/' in front"),
    )
    for change, note in steps:
        changed = change(text)
        if changed != text and changed:
            text = changed
            notes.append(note)
            yield text, list(notes)


def _differences(given: str, found: str) -> list[str]:
    return [] if os.path.normpath(given) == os.path.normpath(found) else differences(given, found)


def _find_in_other_folder(missing: Path) -> Path | None:
    """The same name with fewer leading folders, or in a nearby folder; None if not found."""
    if missing.name in ("", "..") or missing.anchor == str(missing):
        return None
    try:
        parts = plain_parts(str(missing))
        for depth in range(1, len(parts)):  # leading folders that do not exist on this machine
            shorter = same_name(Path(*parts[depth:]))
            if shorter is not None:
                return shorter
        folder = missing.parent
        if os.path.isfile(folder.parent / missing.name):
            return folder.parent / missing.name
        start = folder if os.path.isdir(folder) else folder.parent
        subfolders = sorted(child for child in start.iterdir() if os.path.isdir(child))[:MAX_SEARCHED_FOLDERS]
        return next((child / missing.name for child in subfolders if os.path.exists(child / missing.name)), None)
    except OSError:
        return None


def _similar(missing: Path) -> list[str]:
    """Names in the folder of a missing path that are similar to its name.

    If some names have the same stem, only these.
    """
    try:
        names = sorted(entry.name for entry in missing.parent.iterdir())
    except OSError:
        return []
    stem = folded(missing.stem)
    return [name for name in names if stem and folded(Path(name).stem) == stem][:3] or nearest(missing.name, names)


def _denied_at(path: Path) -> str:
    """The first parent folder without permission to enter, as the end of a message.

    It is empty if there is none.
    """
    for parent in reversed(path.absolute().parents):
        if os.path.isdir(parent) and not os.access(parent, os.X_OK):
            return f" for the folder '{parent}'"
    return ""


def _file_among_parents(path: Path) -> Path:
    """The parent of a path that is a file instead of a folder."""
    return next(
        (parent for parent in reversed(path.parents) if os.path.exists(parent) and not os.path.isdir(parent)),
        path.parent,
    )
