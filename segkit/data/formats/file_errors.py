"""Annotation files that cannot be read: an error, or collected while the others are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

from segkit.utils.errors import SegkitError

File = TypeVar("File")
Parsed = TypeVar("Parsed")


class FileError(NamedTuple):
    """A file that a reader skipped, and why."""

    file: str
    message: str


_collected: ContextVar[list[FileError] | None] = ContextVar("collected_file_errors", default=None)


@contextmanager
def collect_errors() -> Iterator[list[FileError]]:
    """Inside the block, data sets skip annotation files that cannot be read, and list them.

    Readers take part by :func:`parse_each`; those that do not still raise the first error.

    >>> with collect_errors() as errors:
    ...     dataset = build_dataset(spec)
    """
    errors: list[FileError] = []
    token = _collected.set(errors)
    try:
        yield errors
    finally:
        _collected.reset(token)


def parse_each(files: Iterable[File], parse: Callable[[File], Parsed]) -> Iterator[Parsed]:
    """Yields what ``parse`` returns for each file.

    A SegkitError ends the reading, as usual; inside :func:`collect_errors` the file is listed and the next one is read.

    Args:
        files: paths of annotation files, or of the folders of images.
        parse: reads one of them.
    """
    for file in files:
        try:
            parsed = parse(file)
        except SegkitError as error:
            errors = _collected.get()
            if errors is None:
                raise
            errors.append(FileError(str(file), str(error)))
            continue
        yield parsed
