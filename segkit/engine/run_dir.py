"""The directory of a run: made, locked for one run, and cleared of an earlier run's files."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segkit.engine.checkpoint import METRICS, TRACKED_RUNS, find_last_checkpoint, resume_hint
from segkit.utils.atomic import remove_leftovers
from segkit.utils.errors import SegkitError
from segkit.utils.paths import output_folder

try:
    import fcntl
except ImportError:  # Windows has no fcntl: directories are not locked there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)
LOCK = ".lock"
LOG = "log.txt"
REPORT = "report.html"
ENVIRONMENT = "environment.json"
RUN_FILES = (
    "model_*.pth",
    "last_checkpoint",
    "config.yaml",
    ENVIRONMENT,
    METRICS,
    "events.out.tfevents.*",
    "curves.*",
    REPORT,
    "inference",
    "nonfinite_batch_*.pth",
    "profile",
    TRACKED_RUNS,
    LOG,
)
# Error numbers of a disk or directory that cannot be written to, as opposed to a mistake in the program.
_STORAGE_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
)  # fmt: skip


def make_run_dir(output_dir: str | Path) -> Path:
    """Makes the directory and returns its path; raises SegkitError if that is not possible."""
    folder = output_folder(output_dir, "output_dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SegkitError(
            f"output_dir: '{folder}' cannot be made: {error.strerror}", key="output_dir", value=str(folder)
        ) from error
    return folder


@contextmanager
def lock_run_dir(run_dir: Path) -> Iterator[None]:
    """Locks the directory for the block, and removes half-written files of killed runs.

    The lock ends with the process, even if that is killed; loader processes do not inherit it. Between machines it works
    if the network file system has locks.

    Raises:
        SegkitError: another run holds the lock, or the directory cannot be written to.
    """
    try:
        file = open(run_dir / LOCK, "a+", encoding="utf-8")  # noqa: SIM115  # closed below
    except OSError as error:
        raise SegkitError(
            f"output_dir: '{run_dir}' cannot be written to: {error.strerror}", key="output_dir", value=str(run_dir)
        ) from error
    with file:
        if fcntl is not None:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    logger.warning("%s: the file system has no locks: make sure that only one run uses it", run_dir)
                else:
                    file.seek(0)
                    raise SegkitError(
                        f"output_dir: '{run_dir}' is in use by another run ({file.read().strip() or 'unknown'}); wait "
                        "for its end or choose another output_dir",
                        key="output_dir",
                        value=str(run_dir),
                    ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        for folder in (run_dir, run_dir / "inference", run_dir / "profile"):
            remove_leftovers(folder)
        yield


@contextmanager
def full_disk_errors(run_dir: Path) -> Iterator[None]:
    """Turns the OSError of a full or read-only disk into a SegkitError.

    The message names the last good checkpoint.
    """
    try:
        yield
    except OSError as error:
        elsewhere = error.filename is not None and not Path(str(error.filename)).is_relative_to(run_dir)
        if error.errno not in _STORAGE_ERRORS or elsewhere:
            raise
        file = error.filename or run_dir
        raise SegkitError(
            f"'{file}' cannot be written: {error.strerror}{resume_hint(run_dir)}", key="output_dir"
        ) from error


def holds_a_run(run_dir: Path) -> bool:
    """Whether an earlier run has left a checkpoint or a line of metrics."""
    metrics = run_dir / METRICS
    return any(run_dir.glob("model_*.pth")) or (metrics.is_file() and metrics.stat().st_size > 0)


def refuse_earlier_run(run_dir: Path) -> None:
    """Raises SegkitError if the directory holds a run."""
    if not holds_a_run(run_dir):
        return
    last = find_last_checkpoint(run_dir)
    reached = f" (its last checkpoint is {last.name})" if last is not None else ""
    raise SegkitError(
        f"output_dir: '{run_dir}' holds an earlier run{reached}. --resume continues it; --restart starts a new run and "
        "moves the earlier files into a folder previous_N beside the new ones; or choose another output_dir",
        key="output_dir",
        value=str(run_dir),
    )


def log_length(run_dir: Path) -> int:
    """Returns how many bytes earlier runs have written to the log."""
    log = run_dir / LOG
    return log.stat().st_size if log.is_file() else 0


def set_aside_earlier_run(run_dir: Path, log_length: int = 0) -> None:
    """Moves an earlier run's files into ``previous_N``, where a new run does not touch them.

    Args:
        run_dir: the run's directory.
        log_length: bytes of the log that belong to the earlier run; the new run has already written the rest.
    """
    if not holds_a_run(run_dir):
        return
    found = [path for pattern in RUN_FILES for path in sorted(run_dir.glob(pattern))]
    number = 1
    while (aside := run_dir / f"previous_{number}").exists():
        number += 1
    aside.mkdir()
    for path in found:
        if path.name == LOG:
            _move_beginning(path, aside / path.name, log_length)
        else:
            path.rename(aside / path.name)
    logger.warning("%s held an earlier run; its files are now in %s", run_dir, aside)


def _move_beginning(log: Path, earlier: Path, length: int) -> None:
    """Moves the log's first ``length`` bytes to ``earlier``; handlers of the log stay valid."""
    content = log.read_bytes()
    earlier.write_bytes(content[:length])
    with open(log, "r+b") as file:
        file.write(content[length:])
        file.truncate()
