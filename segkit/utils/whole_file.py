"""Files of single images: whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path, and renames it to ``path`` if the block ends without an error.

    Unlike :func:`segkit.utils.atomic.atomic_write` it does not wait for the disk, which takes longer than the work on an
    image: a process that is killed leaves no broken file, but a power cut may.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
