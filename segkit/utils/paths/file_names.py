"""File names that every file system accepts, for the files that segkit writes."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from segkit.utils.paths.spellings import composed

MAX_STEM_BYTES = 200  # file systems accept 255 bytes, and a suffix and atomic_write's marks are added to the stem


def name_fold(name: str) -> str:
    """A name without case and Unicode form, which some file systems ignore."""
    return composed(composed(name).casefold())


def short_stem(stem: str) -> str:
    """The stem, shortened to its beginning and a hash if it has more than 200 bytes.

    Different stems stay different.
    """
    encoded = os.fsencode(stem)
    if len(encoded) <= MAX_STEM_BYTES:
        return stem
    digest = hashlib.sha256(encoded).hexdigest()[:12]
    return f"{encoded[: MAX_STEM_BYTES - 13].decode(errors='ignore')}-{digest}"


def unique_stems(names: Sequence[str]) -> list[str]:
    """A different stem for each input file, to name the file that is written for it.

    An input keeps its own stem if that is unique; otherwise the folders and the suffix that differ are added, and a
    number if the result is still not unique. Stems are compared without case and Unicode form, which some file systems
    ignore. Long stems are shortened.

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
        counts = Counter(name_fold(stem) for stem in plain.values())
        repeats: Counter[str] = Counter()
        for i, stem in plain.items():
            if counts[name_fold(stem)] > 1:
                stem += files[i].suffix.replace(".", "_")
            stem = chosen = short_stem(stem)
            while name_fold(chosen) in taken:
                repeats[stem] += 1
                chosen = f"{stem}-{repeats[stem] + 1}"
            taken.add(name_fold(chosen))
            stems[i] = chosen
    return [stems[i] for i in range(len(names))]


def _stem(name: str) -> str:
    return short_stem(Path(name).stem)
