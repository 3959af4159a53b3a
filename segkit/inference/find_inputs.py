"""From what a user typed to a list of image files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from segkit.utils.errors import SegkitError
from segkit.utils.images import IMAGE_SUFFIXES, is_image_name
from segkit.utils.paths import local_path


def find_inputs(inputs: Sequence[str]) -> list[Path]:
    """The image files that files, folders and globs stand for, each once, in the order given.

    A folder stands for the images right in it, by name; not for those in its folders, which might be masks. A file is
    taken whatever it is called.

    Raises:
        SegkitError: a file or folder that is not there (similar names are listed), a folder or glob without images.
    """
    found: dict[str, Path] = {}
    for given in inputs:
        for path in _expand(given):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _expand(given: str) -> list[Path]:
    text = os.path.expanduser(given)
    if glob.has_magic(text) and not os.path.exists(text):
        matches = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
        files = [path for path in matches if path.is_file() and is_image_name(path.name)]
        if not files:
            kinds = ", ".join(IMAGE_SUFFIXES)
            what = f"matches {len(matches)} files, but no images ({kinds})" if matches else "matches no files"
            raise SegkitError(f"'{given}' {what}", value=given)
        return files
    path = local_path(given, "input")
    if not path.is_dir():
        return [path]
    files = sorted(child for child in path.iterdir() if child.is_file() and is_image_name(child.name))
    if not files:
        folders = sum(child.is_dir() for child in path.iterdir())
        hint = f"; it has {folders} folders, which a glob reaches: '{path}/*/*.png'" if folders else ""
        raise SegkitError(f"the folder '{given}' holds no images ({', '.join(IMAGE_SUFFIXES)}){hint}", value=given)
    return files
