"""Pairs images with their annotation files, and says which are left without a partner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.data.formats.label_pairs.path_patterns import Key
from segkit.data.formats.recognition import Recognition
from segkit.utils.errors import first_few, nearest
from segkit.utils.images.listing import is_system_file

MAX_COMPARED = 2000  # names that an unpaired file is compared with
SHOWN = 3
MAX_SPLITS = 12  # folders in which recognition looks


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


def recognize_pairs(
    path: Path, spec: Mapping[str, Any], count_pairs: Callable[[Path], int], what: str
) -> Recognition | None:
    """Recognises a folder of images with an annotation file each, or such folders by split.

    Args:
        path: of the folder.
        spec: of the format and the folder; a split adds its name as ``split``.
        count_pairs: number of images with an annotation file in a folder; 0 if it is of another format.
        what: the annotation file in the reason, as ``a GeoJSON file``.
    """
    if count := count_pairs(path):
        return Recognition(spec, f"{count} images with {what} each", certainty=0.9)
    folders = sorted(p.name for p in path.iterdir() if p.is_dir() and not is_system_file(p.name))[:MAX_SPLITS]
    splits = {name: {**spec, "split": name} for name in folders if count_pairs(path / name)}
    if not splits:
        return None
    first = splits.get("train", next(iter(splits.values())))
    return Recognition(first, f"folders of images with {what} each", splits, certainty=0.9)
