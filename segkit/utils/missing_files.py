"""Files that are named but not there: found by listing folders, and told with what there is instead.

A name from another machine often differs from the file's only in slashes, folders, case, percent-encoding, blanks or
Unicode form. Such a name is not opened silently, for two files could differ in just that; the message names the file.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote

from segkit.utils.errors import SegkitError, nearest

LISTED_FROM = 20  # names in one folder, from which on listing it is faster than looking for each file
MOST_FILES = 200_000  # that are looked at for what there is instead
MOST_EXPLAINED = 1000  # missing names that are looked for under another spelling
MOST_COMPARED = 5000  # files that a name is compared with letter by letter


def check_files(folder: Path, names: Sequence[str], what: str) -> None:
    """SegkitError where files are missing in a folder, with those that are there under another name.

    Args:
        names: relative to the folder, with ``/``.
        what: what they are, for the message: ``images of train.json``.
    """
    missing = missing_files(folder, names)
    if missing:
        few = ", ".join(map(_shown, missing[:5])) + (", ..." if len(missing) > 5 else "")
        hint = instead(missing, files_in(folder), names)
        raise SegkitError(f"{folder}: {len(missing)} of the {len(names)} {what} are missing: {few}{hint}")


def leads_out(name: str) -> bool:
    """Whether a name that should be relative to a folder is absolute or goes up."""
    return os.path.isabs(name) or ".." in name.replace("\\", "/").split("/")


def missing_files(folder: Path, names: Sequence[str]) -> list[str]:
    """The names of which there is no file. Folders are listed once, which over a network beats a look at each file."""
    counts = Counter(name.rpartition("/")[0] for name in names)
    listings = {parent: _files(folder / parent) for parent, count in counts.items() if count >= LISTED_FROM}
    missing = []
    for name in names:
        parent, _, base = name.rpartition("/")
        # A file system may know a file by other spellings too, so that a name that is not listed is looked for.
        if base not in listings.get(parent, ()) and not os.path.isfile(folder / name):
            missing.append(name)
    return missing


def files_in(folder: Path) -> list[str]:
    """The files in a folder and the folders in it, relative to it, with ``/``; at most ``MOST_FILES``."""
    found: list[str] = []
    for path, _, names in os.walk(folder):
        relative = Path(path).relative_to(folder).as_posix()
        found += names if relative == "." else [f"{relative}/{name}" for name in names]
        if len(found) >= MOST_FILES:
            break
    return found[:MOST_FILES]


def instead(missing: Sequence[str], there: Iterable[str], listed: Iterable[str] = ()) -> str:
    """The end of a message: what there is in the place of missing names; empty where nothing is like them.

    Args:
        missing: names that were looked for.
        there: names of the files that there are.
        listed: names that are known already; a file among them is not proposed for a similar name.
    """
    by_base: dict[str, list[str]] = {}
    for name in there:
        by_base.setdefault(_parts(name)[-1], []).append(name)
    found = [(name, _same(name, by_base)) for name in missing[:MOST_EXPLAINED]]
    known = [(name, matches) for name, matches in found if matches]
    if not known:
        return _near(missing[0], by_base, frozenset(listed))
    name, matches = known[0]
    if len(matches) > 1:
        return f"; for {_quoted(name)} there are {', '.join(repr(match) for match in matches[:3])}"
    also = f" ({len(known)} of them are there in such another spelling)" if len(known) > 1 else ""
    return f"; for {_quoted(name)} there is {_quoted(matches[0])}: {spelling_difference(name, matches[0])}{also}"


def spelling_difference(name: str, found: str) -> str:
    """In what a name differs from the file that it probably means."""
    differences = []
    if "\\" in name:
        differences.append("it is written with '\\' instead of '/'")
    plain, there = _plain(name), _plain(found)
    same = _common_end(_parts(name), _parts(found))
    ahead, inside = plain[: len(plain) - same], there[: len(there) - same]
    if re.match(r"[a-z]+://", name, re.IGNORECASE):
        differences.append("it is a URL")
    elif ahead:
        differences.append(f"it has '{'/'.join(ahead)}/' in front")
    if inside:
        differences.append(f"the file lies in the folder '{'/'.join(inside)}'")
    a, b = "/".join(plain[len(ahead) :]), "/".join(there[len(inside) :])
    for change, difference in (
        (unquote, "it is percent-encoded (%20 for a blank)"),
        (_without_blanks, "blanks at an end"),
        (_composed, "another Unicode form of the same letters"),
        (str.casefold, "upper and lower case"),
    ):
        if a != b and (change(a), change(b)) != (a, b):
            a, b = change(a), change(b)
            differences.append(difference)
    return "the name differs: " + ", ".join(differences)


def _same(name: str, by_base: dict[str, list[str]]) -> list[str]:
    """The files that a name means, whatever its spelling: of those with its last part the ones alike farthest."""
    parts = _parts(name)
    alike = [(_common_end(parts, _parts(file)), file) for file in by_base.get(parts[-1], ())]
    longest = max((length for length, _ in alike), default=0)
    return sorted(file for length, file in alike if length == longest)


def _near(name: str, by_base: dict[str, list[str]], listed: frozenset[str]) -> str:
    """Files that may be meant: the same name with another suffix, or similar names."""
    by_stem: dict[str, str] = {}
    for base, files in list(by_base.items())[:MOST_COMPARED]:
        new = [file for file in files if file not in listed]
        if new:
            by_stem.setdefault(base.rpartition(".")[0] or base, new[0])
    base = _parts(name)[-1]
    near = nearest(base.rpartition(".")[0] or base, by_stem)
    return f"; did you mean {' or '.join(repr(by_stem[stem]) for stem in near)}?" if near else ""


def _shown(name: str) -> str:
    """A name for a message: control characters and halves of surrogate pairs escaped."""
    return name if name.isprintable() else ascii(name)[1:-1]


def _quoted(name: str) -> str:
    return f"'{_shown(name)}'"


def _files(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except OSError:  # not there, no folder, not ours to list: each file is looked for
        return frozenset()


def _plain(name: str) -> list[str]:
    """The parts of a path, of whatever system it comes from; without drive, URL's scheme and ``.``."""
    name = re.sub(r"^([a-z]+://[^/\\]*|[a-z]:)", "", name, flags=re.IGNORECASE)
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")] or [""]


def _parts(name: str) -> list[str]:
    """The parts of a path without all that spellings differ in."""
    return [_composed(unquote(part)).strip().casefold() for part in _plain(name)]


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _without_blanks(path: str) -> str:
    return "/".join(part.strip() for part in path.split("/"))


def _common_end(a: Sequence[str], b: Sequence[str]) -> int:
    """How many parts at the end are the same."""
    for length, (one, other) in enumerate(zip(reversed(a), reversed(b), strict=False)):
        if one != other:
            return length
    return min(len(a), len(b))
