"""The folder of a run: one run at a time has it, and none writes over another's."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segkit.engine.checkpoint import METRICS, find_last_checkpoint, last_good
from segkit.utils.atomic import remove_leftovers
from segkit.utils.errors import SegkitError
from segkit.utils.paths import output_folder

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)
LOCK = ".lock"
_OF_A_RUN = (
    "model_*.pth",
    "last_checkpoint",
    "config.yaml",
    METRICS,
    "events.out.tfevents.*",
    "curves.png",
    "inference",
    "nonfinite_batch_*.pth",
    "profile",
    "log.txt",
)
# What a disk or a folder says that cannot be written to, rather than a program that is wrong.
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)


def make_folder(output_dir: str | Path) -> Path:
    """Makes the folder; SegkitError where that is not possible."""
    folder = output_folder(output_dir, "output_dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SegkitError(
            f"output_dir: '{folder}' cannot be made: {error.strerror}", key="output_dir", value=str(folder)
        ) from error
    return folder


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keeps other runs out of the folder, and clears away what killed ones left half written.

    The lock ends with the process, however that ends; loader processes do not inherit it. It holds between machines
    where the network's file system knows locks.

    Raises:
        SegkitError: another run has it, or it cannot be written to.
    """
    try:
        file = open(folder / LOCK, "a+", encoding="utf-8")  # noqa: SIM115  # closed below
    except OSError as error:
        raise SegkitError(
            f"output_dir: '{folder}' cannot be written to: {error.strerror}", key="output_dir", value=str(folder)
        ) from error
    with file:
        if fcntl is not None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    logger.warning("%s: this file system has no locks: see that only one run uses it", folder)
                else:
                    file.seek(0)
                    raise SegkitError(
                        f"output_dir: '{folder}' is in use by another run ({file.read().strip() or 'unknown'}); wait "
                        "for its end or choose another folder",
                        key="output_dir",
                        value=str(folder),
                    ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        for place in (folder, folder / "inference", folder / "profile"):
            remove_leftovers(place)
        yield


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Makes a full or read-only disk an error for the user, which names the last good checkpoint."""
    try:
        yield
    except OSError as error:
        elsewhere = error.filename is not None and not Path(str(error.filename)).is_relative_to(folder)
        if error.errno not in _STORAGE or elsewhere:
            raise
        what = error.filename or folder
        raise SegkitError(
            f"'{what}' cannot be written: {error.strerror}{last_good(folder)}", key="output_dir"
        ) from error


def holds_a_run(folder: Path) -> bool:
    """Whether an earlier run has left anything that was measured or trained."""
    metrics = folder / METRICS
    return any(folder.glob("model_*.pth")) or (metrics.is_file() and metrics.stat().st_size > 0)


def refuse_earlier_run(folder: Path) -> None:
    """SegkitError where the folder holds a run."""
    if not holds_a_run(folder):
        return
    last = find_last_checkpoint(folder)
    reached = f" (its last checkpoint is {last.name})" if last is not None else ""
    raise SegkitError(
        f"output_dir: '{folder}' holds an earlier run{reached}. --resume goes on with it; --restart begins anew and "
        "moves its files into a folder previous_N beside the new ones; or choose another output_dir",
        key="output_dir",
        value=str(folder),
    )


def log_length(folder: Path) -> int:
    """Bytes that earlier runs have written to the log."""
    log = folder / "log.txt"
    return log.stat().st_size if log.is_file() else 0


def set_aside_earlier_run(folder: Path, log_length: int = 0) -> None:
    """Moves what an earlier run left into ``previous_N``: a new run neither mixes with it nor overwrites it.

    Args:
        log_length: how much of the log is the earlier run's; the rest stays, for the new one is being written to it.
    """
    if not holds_a_run(folder):
        return
    found = [path for pattern in _OF_A_RUN for path in sorted(folder.glob(pattern))]
    number = 1
    while (aside := folder / f"previous_{number}").exists():
        number += 1
    aside.mkdir()
    for path in found:
        if path.name == "log.txt":
            _cut_log(path, aside / path.name, log_length)
        else:
            path.rename(aside / path.name)
    logger.warning("%s held an earlier run; its files are now in %s", folder, aside)


def _cut_log(log: Path, earlier: Path, length: int) -> None:
    """Moves the first ``length`` bytes, within the file: a handler has it open, and appends."""
    content = log.read_bytes()
    earlier.write_bytes(content[:length])
    with open(log, "r+b") as file:
        file.write(content[length:])
        file.truncate()
