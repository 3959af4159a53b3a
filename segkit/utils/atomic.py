"""Files that are either whole or not there: a run that is killed never leaves half a checkpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LEFTOVER = re.compile(r"\..+\.\d+\.tmp(\.\w+)?")


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path in the same folder, which takes the name ``path`` when the block ends without an error.

    The temporary name keeps the suffix of ``path`` (libraries choose a format by it). The data is on the disk before
    the name changes, so that after a power cut the name stands for the old file or for the whole new one.

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
    """Makes durable what has been written to a file so far, by whatever program; nothing where there is no such file."""
    try:
        file = open(path, "rb+")  # noqa: SIM115  # closed below; writable, for Windows syncs nothing else
    except FileNotFoundError:
        return
    with file:
        os.fsync(file.fileno())


def remove_leftovers(folder: Path) -> int:
    """Removes the temporary files of processes that were killed while writing; gives their number.

    Only where nobody else writes to the folder: those of a living process look alike.
    """
    found = [path for path in folder.glob(".*.tmp*") if _LEFTOVER.fullmatch(path.name)]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _sync_folder(folder: Path) -> None:
    """Makes the new name itself durable; folders can only be opened for that on POSIX."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
