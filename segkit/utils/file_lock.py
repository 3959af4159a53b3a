"""A lock between processes, which ends with the process that holds it."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no fcntl: nothing is locked there
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits for a lock and holds it for the block.

    The file stays, empty, since another process may wait for it.
    Between machines it works if the network file system has locks; without them, and on Windows, nothing is locked.

    Args:
        path: of the lock file, in a folder that exists.
    """
    with open(path, "a", encoding="utf-8") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                logger.warning("%s: the file system has no locks", os.fspath(path))
        yield
