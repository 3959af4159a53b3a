"""Pairs images with their annotation files, and says which are left without a partner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from segkit.data.formats.path_patterns import Key
from segkit.utils.errors import first_few, nearest

MAX_COMPARED = 2000  # names that an unpaired file is compared with
SHOWN = 3


def unpaired_note(
    unpaired: Mapping[Key, Sequence[Path]], others: Mapping[Key, Sequence[Path]], what: str, other: str
) -> str:
    """One sentence about files without a partner, with the nearest name for each of the first.

    Args:
        unpaired: the files.
        others: the files that they could belong to.
        what: title of the files, as ``images``.
        other: title of a partner, as ``mask``.
    """
    names = [shown_pair(files[0].name, key, others) for key, files in list(unpaired.items())[:SHOWN]]
    return f"{len(unpaired)} {what} have no {other} and are skipped: {first_few(names, SHOWN)}" + (
        ", ..." if len(unpaired) > SHOWN else ""
    )


def shown_pair(name: str, key: Key, others: Mapping[Key, Sequence[Path]]) -> str:
    """A file's name, and the nearest one that it could belong to."""
    stems = {other[-1]: files[0].name for other, files in list(others.items())[:MAX_COMPARED] if other != key}
    near = nearest(key[-1], stems, 1)
    return f"{name} (nearest: {stems[near[0]]})" if near else name


def repeated(files: Mapping[Key, Sequence[Path]]) -> list[Sequence[Path]]:
    """The groups of files of one stem, of which only one can be meant."""
    return [group for group in files.values() if len(group) > 1]
