"""The files that a prediction writes for each image."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from segkit.utils.errors import SegkitError
from segkit.utils.paths.file_names import unique_stems

logger = logging.getLogger(__name__)


class NamesFiles(Protocol):
    """Writes files of its own for each image."""

    def files_of(self, stem: str) -> list[Path]:
        """The files of an image of that stem."""


def name_stems(inputs: Mapping[str, Path], writers: Sequence[NamesFiles] = ()) -> dict[str, str]:
    """Returns the stem of each image's files, by the image's name.

    Args:
        inputs: the file of each name.
        writers: none of their files may be an input, or belong to two images.
    Raises:
        SegkitError: a file would replace an input, a folder or the file of another image.
    """
    stems = dict(zip(inputs, unique_stems(list(inputs)), strict=True))
    files = {os.path.realpath(path) for path in inputs.values()} | {os.path.abspath(p) for p in inputs.values()}
    owners: dict[str, str] = {}
    for writer in writers:
        for name, stem in stems.items():
            for path in writer.files_of(stem):
                if os.path.realpath(path) in files or os.path.abspath(path) in files:
                    raise SegkitError(
                        f"{path}, which {name} leads to, would replace an input; choose another output folder",
                        value=str(path),
                    )
                if path.is_dir():
                    raise SegkitError(f"{path} cannot be written: a folder has this name", value=str(path))
                other = owners.setdefault(os.path.abspath(path), name)
                if other != name:
                    raise SegkitError(f"{other} and {name} would both write {path}", value=str(path))
    _warn_of_others({Path(path) for path in owners})
    return stems


def _warn_of_others(files: Collection[Path]) -> None:
    """Logs a warning of files of the same kinds that are there and belong to no image of this prediction."""
    for folder, suffix in sorted({(path.parent, path.suffix) for path in files}):
        there = {path for path in folder.glob(f"*{suffix}") if not path.name.startswith(".")}
        if others := len(there - set(files)):
            logger.warning(
                "%s holds %d %s files of other images, maybe of an earlier prediction", folder, others, suffix
            )
