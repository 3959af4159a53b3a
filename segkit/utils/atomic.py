"""Atomic writing of files: a killed process leaves the old file or the new one, whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LEFTOVER = re.compile(r"\..+\.\d+\.tmp(\.\w+)?")


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path, and renames it to ``path`` if the block ends without an error.

    The temporary name has the suffix of ``path``, because libraries choose a format by it. The data are synced to the
    disk before the renaming, so that after a power cut too ``path`` is the old file or the complete new one.

    >>> with atomic_write("model.pth") as temporary:
    ...     torch.save(state, temporary)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Syncs a file's data to the disk, whichever process wrote them.

    It does nothing if the file does not exist.
    """
    try:
        file = open(path, "rb+")  # noqa: SIM115  # closed below; writable, because Windows syncs no other files
    except FileNotFoundError:
        return
    with file:
        os.fsync(file.fileno())


def remove_leftovers(folder: Path) -> int:
    """Removes the temporary files of processes that were killed while writing.

    It returns their number.

    Call it only while no other process writes to the folder: its temporary files have the same names.
    """
    found = [path for path in folder.glob(".*.tmp*") if _LEFTOVER.fullmatch(path.name)]
    for path in found:
        if path.is_dir():  # a Zarr store
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return len(found)


def _sync_folder(folder: Path) -> None:
    """Syncs the new name to the disk. POSIX only: other systems cannot open folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
