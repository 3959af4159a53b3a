"""Files that a list names and a folder lacks: found by listing folders, and told with what there is instead.

A name in another spelling is not opened silently, for two files could differ in just that; the message names the file.
Single paths that a user gives are explained in :mod:`segkit.utils.paths.hints`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from segkit.utils.errors import SegkitError, first_few, nearest
from segkit.utils.paths.spellings import common_end, differences, folded_parts, shown_name, suggestion

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
        few = first_few([shown_name(name) for name in missing])
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
        by_base.setdefault(folded_parts(name)[-1], []).append(name)
    found = [(name, _same(name, by_base)) for name in missing[:MOST_EXPLAINED]]
    known = [(name, matches) for name, matches in found if matches]
    name, matches = known[0] if known else (missing[0], _near(missing[0], by_base, frozenset(listed)))
    hint = suggestion(matches[:3], differences(name, matches[0]) if known and len(matches) == 1 else ())
    if hint and len(missing) > 1:
        hint = f"; for '{shown_name(name)}'{hint.removeprefix(';')}"
    return hint + (f"; {len(known)} of them are there in another spelling" if len(known) > 1 else "")


def _same(name: str, by_base: dict[str, list[str]]) -> list[str]:
    """The files that a name means, whatever its spelling: of those with its last part the ones alike farthest."""
    parts = folded_parts(name)
    alike = [(common_end(parts, folded_parts(file)), file) for file in by_base.get(parts[-1], ())]
    longest = max((length for length, _ in alike), default=0)
    return sorted(file for length, file in alike if length == longest)


def _near(name: str, by_base: dict[str, list[str]], listed: frozenset[str]) -> list[str]:
    """Files that may be meant: the same name with another suffix, or similar names."""
    by_stem: dict[str, str] = {}
    for base, files in list(by_base.items())[:MOST_COMPARED]:
        new = [file for file in files if file not in listed]
        if new:
            by_stem.setdefault(base.rpartition(".")[0] or base, new[0])
    base = folded_parts(name)[-1]
    return [by_stem[stem] for stem in nearest(base.rpartition(".")[0] or base, by_stem)]


def _files(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except OSError:  # not there, no folder, not ours to list: each file is looked for
        return frozenset()
