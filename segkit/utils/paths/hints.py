"""Why one path that a user gives cannot be used, and the nearest one that can.

Lists of names in a folder are explained in :mod:`segkit.utils.paths.missing_files`.
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
    for candidate, notes in _respellings(text):
        found = same_name(candidate)
        if found is not None:
            return suggestion([str(found)], [*notes, *_differences(candidate, str(found))])
    missing = Path(text)
    elsewhere = _elsewhere(missing)
    if elsewhere is not None:
        return suggestion([str(elsewhere)], differences(text, str(elsewhere)))
    if not os.path.isdir(missing.parent):
        folder = missing.parent
        while folder != folder.parent and not os.path.isdir(folder.parent):
            folder = folder.parent
        return f": there is no folder '{folder}'{suggestion(_similar(folder))}"
    return suggestion(_similar(missing))


def same_name(path: str | os.PathLike[str]) -> Path | None:
    """The existing path that is ``path`` but for case, Unicode form and spaces around its names; None where none is."""
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
    """What a path may have meant, and how that differs from it. Each respelling goes on from the one before."""
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


def _elsewhere(missing: Path) -> Path | None:
    """The same file name without leading folders, or in a folder near the missing one."""
    if missing.name in ("", "..") or missing.anchor == str(missing):
        return None
    try:
        parts = plain_parts(str(missing))
        for depth in range(1, len(parts)):  # folders too many in front, or of another system
            shorter = same_name(Path(*parts[depth:]))
            if shorter is not None:
                return shorter
        folder = missing.parent
        if os.path.isfile(folder.parent / missing.name):
            return folder.parent / missing.name
        place = folder if os.path.isdir(folder) else folder.parent
        inside = sorted(child for child in place.iterdir() if os.path.isdir(child))[:MOST_FOLDERS]
        return next((child / missing.name for child in inside if os.path.exists(child / missing.name)), None)
    except OSError:
        return None


def _similar(missing: Path) -> list[str]:
    """Names beside a missing one that are like it, those with the same stem first."""
    try:
        names = sorted(entry.name for entry in missing.parent.iterdir())
    except OSError:
        return []
    stem = folded(missing.stem)
    return [name for name in names if stem and folded(Path(name).stem) == stem][:3] or nearest(missing.name, names)


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
