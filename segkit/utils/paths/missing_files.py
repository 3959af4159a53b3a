"""Finds the files of a list that are missing in a folder, and the files they probably mean.

A file of another spelling is suggested, never opened in place of the missing one: two files could differ only in their
spelling. For single paths see :mod:`segkit.utils.paths.hints`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from segkit.utils.errors import SegkitError, first_few, nearest
from segkit.utils.paths.spellings import common_end, differences, folded_parts, shown_name, suggestion

MIN_NAMES_TO_LIST = 20  # from this many names in one folder on, listing it is faster than a look-up of each file
MAX_FILES = 200_000  # existing files that are considered as suggestions
MAX_EXPLAINED = 1000  # missing names for which another spelling is searched
MAX_COMPARED = 5000  # file names that a missing name is compared with for similarity


def check_files(folder: Path, names: Sequence[str], what: str) -> None:
    """Raises a SegkitError if files are missing in a folder.

    The message suggests existing files.

    Args:
        names: relative to the folder, with ``/``.
        what: title of the files in the message: ``images of train.json``.
    """
    missing = missing_files(folder, names)
    if missing:
        few = first_few([shown_name(name) for name in missing])
        hint = suggest_files(missing, files_in(folder), names)
        raise SegkitError(f"{folder}: {len(missing)} of the {len(names)} {what} are missing: {few}{hint}")


def leads_out(name: str) -> bool:
    """Whether a name leads out of its folder: an absolute path, or one with ``..``."""
    return os.path.isabs(name) or ".." in name.replace("\\", "/").split("/")


def missing_files(folder: Path, names: Sequence[str]) -> list[str]:
    """The names without a file.

    Each folder is listed once: over a network that is faster than a look-up of each file.
    """
    counts = Counter(name.rpartition("/")[0] for name in names)
    listings = {parent: _list_files(folder / parent) for parent, count in counts.items() if count >= MIN_NAMES_TO_LIST}
    missing = []
    for name in names:
        parent, _, base = name.rpartition("/")
        # Some file systems find a file by other spellings than the listed one: look up each name that is not listed.
        if base not in listings.get(parent, ()) and not _is_image(folder / name):
            missing.append(name)
    return missing


def _is_image(path: Path) -> bool:
    """Whether a path is a file, or a folder that is one image (Zarr)."""
    return os.path.isfile(path) or (path.suffix.lower() == ".zarr" and os.path.isdir(path))


def files_in(folder: Path) -> list[str]:
    """Paths of the files in a folder and its subfolders, relative to it, with ``/``.

    There are at most ``MAX_FILES``.
    """
    found: list[str] = []
    for path, _, names in os.walk(folder):
        relative = Path(path).relative_to(folder).as_posix()
        found += names if relative == "." else [f"{relative}/{name}" for name in names]
        if len(found) >= MAX_FILES:
            break
    return found[:MAX_FILES]


def suggest_files(missing: Sequence[str], existing: Iterable[str], listed: Iterable[str] = ()) -> str:
    """The existing files that missing names probably mean, as the end of a message.

    It is empty if none is similar.

    Args:
        missing: names without a file.
        existing: names of the files that exist.
        listed: all names of the list; a file that another entry names is not suggested for a similar name.
    """
    by_base: dict[str, list[str]] = {}
    for name in existing:
        by_base.setdefault(folded_parts(name)[-1], []).append(name)
    found = [(name, _other_spellings(name, by_base)) for name in missing[:MAX_EXPLAINED]]
    respelled = [(name, matches) for name, matches in found if matches]
    name, matches = respelled[0] if respelled else (missing[0], _similar(missing[0], by_base, frozenset(listed)))
    hint = suggestion(matches[:3], differences(name, matches[0]) if respelled and len(matches) == 1 else ())
    if hint and len(missing) > 1:
        hint = f"; for '{shown_name(name)}'{hint.removeprefix(';')}"
    return hint + (f"; {len(respelled)} of them exist in another spelling" if len(respelled) > 1 else "")


def _other_spellings(name: str, by_base: dict[str, list[str]]) -> list[str]:
    """The files with the same last part in any spelling.

    Of these files, those that share most of the parts before it.
    """
    parts = folded_parts(name)
    alike = [(common_end(parts, folded_parts(file)), file) for file in by_base.get(parts[-1], ())]
    longest = max((length for length, _ in alike), default=0)
    return sorted(file for length, file in alike if length == longest)


def _similar(name: str, by_base: dict[str, list[str]], listed: frozenset[str]) -> list[str]:
    """Files with the same stem and another suffix, or with a similar stem."""
    by_stem: dict[str, str] = {}
    for base, files in list(by_base.items())[:MAX_COMPARED]:
        unlisted = [file for file in files if file not in listed]
        if unlisted:
            by_stem.setdefault(base.rpartition(".")[0] or base, unlisted[0])
    base = folded_parts(name)[-1]
    return [by_stem[stem] for stem in nearest(base.rpartition(".")[0] or base, by_stem)]


def _list_files(folder: Path) -> frozenset[str]:
    """Names of the files in a folder; empty if the folder cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except OSError:  # missing, a file, or without permission: each name is looked up by itself
        return frozenset()
