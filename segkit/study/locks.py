"""Locks of a study's folder and of its runs, which end with the processes that hold them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from segkit.utils.errors import SegkitError

try:
    import fcntl
except ImportError:  # on Windows, where runs are not started
    fcntl = None  # type: ignore[assignment]

STUDY_LOCK = ".study_lock"


def check_platform() -> None:
    """Raises SegkitError on Windows, whose locks a child process cannot inherit."""
    if fcntl is None:
        raise SegkitError(
            "segkit study starts runs under locks that they inherit, which Windows does not have: start it in WSL; "
            "--dry-run and --tables work here"
        )


def lock_file(folder: Path) -> Path:
    """The file whose lock a run's process inherits from the study."""
    return folder / STUDY_LOCK


def acquire(file: IO[str]) -> bool:
    """Locks an open file for this process and the children that inherit it.

    False if another one has the lock.

    A ``flock`` belongs to the open file, so a child keeps it after its parent was killed.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def locked(path: Path) -> bool:
    """Whether a process holds the lock of a file."""
    if not path.is_file():
        return False
    with open(path, "a", encoding="utf-8") as file:
        return not acquire(file)


@contextmanager
def lock_study(folder: Path) -> Iterator[None]:
    """Locks a study's folder for the block.

    Raises:
        SegkitError: another study uses the folder, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(lock_file(folder), "a+", encoding="utf-8")  # noqa: SIM115  # closed below
    except OSError as error:
        raise SegkitError(f"output: '{folder}' cannot be written to: {error.strerror}", key="output") from error
    with file:
        if not acquire(file):
            file.seek(0)
            raise SegkitError(
                f"output: '{folder}' is in use by another study ({file.read().strip() or 'unknown'}); wait for its end or "
                "choose another folder with --output",
                key="output",
                value=str(folder),
            )
        os.set_inheritable(file.fileno(), False)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
