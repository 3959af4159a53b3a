"""Names for files that segkit writes, which every file system can hold."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from segkit.utils.paths.spellings import composed

LONGEST = 200  # bytes of a stem: file systems take 255 of a name, suffix and temporary marks included


def name_fold(name: str) -> str:
    """What two names share that some file systems take for one: case and Unicode form do not count."""
    return composed(composed(name).casefold())


def short_stem(stem: str) -> str:
    """The stem itself, or where it has more than 200 bytes its beginning and a hash, so that two stay two."""
    coded = os.fsencode(stem)
    if len(coded) <= LONGEST:
        return stem
    mark = hashlib.sha256(coded).hexdigest()[:12]
    return f"{coded[: LONGEST - 13].decode(errors='ignore')}-{mark}"


def unique_stems(names: Sequence[str]) -> list[str]:
    """A stem for what is made of each file: its own where no other has it, else with the folders and suffix that differ.

    Compared without case and Unicode form, as some file systems do; one too long for a file name is shortened, and what
    is still the same is numbered.

    >>> unique_stems(["a/x.png", "b/x.png", "y.tif"])
    ['a__x', 'b__x', 'y']
    """
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        groups.setdefault(name_fold(_stem(name)), []).append(i)
    stems = {group[0]: _stem(names[group[0]]) for group in groups.values() if len(group) == 1}
    taken = {name_fold(stem) for stem in stems.values()}
    for group in groups.values():
        if len(group) == 1:
            continue
        files = {i: Path(os.path.abspath(names[i])) for i in group}
        top = os.path.commonpath([file.parent for file in files.values()])
        plain = {i: "__".join(file.relative_to(top).with_suffix("").parts) for i, file in files.items()}
        often = Counter(name_fold(stem) for stem in plain.values())
        numbers: Counter[str] = Counter()
        for i, stem in plain.items():
            if often[name_fold(stem)] > 1:
                stem += files[i].suffix.replace(".", "_")
            stem = chosen = short_stem(stem)
            while name_fold(chosen) in taken:
                numbers[stem] += 1
                chosen = f"{stem}-{numbers[stem] + 1}"
            taken.add(name_fold(chosen))
            stems[i] = chosen
    return [stems[i] for i in range(len(names))]


def _stem(name: str) -> str:
    return short_stem(Path(name).stem)
