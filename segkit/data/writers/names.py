"""Names of written images: safe on every file system, and different from each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from segkit.utils.paths.file_names import unique_stems

_UNSAFE = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)  # names of devices on Windows


def written_names(files: Sequence[str]) -> list[str]:
    """A name for the copy of each image, without folders.

    A name that is unique is kept. Of equal names, those that differ in the suffix or in case only included, the folders
    that differ are added. If all files of several folders are called the same (``image.tif``), the folders' names are
    used.

    >>> written_names(["a/x.png", "b/x.png", "y?.tif"])
    ['a__x.png', 'b__x.png', 'y_.tif']
    """
    paths = [Path(file) for file in files]
    if len(paths) > 1 and len({path.stem for path in paths}) == 1:
        stems = unique_stems([str(_safe(path.parent)) + path.suffix for path in paths])
    else:
        stems = unique_stems([str(_safe(path)) for path in paths])
    return [stem + path.suffix for stem, path in zip(stems, paths, strict=True)]


def _safe(path: Path) -> Path:
    """A path without characters that a file system refuses."""
    path = Path(path.anchor, *(_UNSAFE.sub("_", part) for part in path.relative_to(path.anchor).parts))
    stem = path.stem.strip(" .") or "image"
    if _RESERVED.fullmatch(stem):
        stem = f"{stem}_"
    return path.parent / (stem + path.suffix)
