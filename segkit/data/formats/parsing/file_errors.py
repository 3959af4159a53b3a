"""Annotation files that cannot be read: an error, or collected while the others are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from segkit.utils.errors import MissingPackage, SegkitError
from segkit.utils.paths.missing_files import check_files, files_in, missing_files, suggest_files

File = TypeVar("File")
Parsed = TypeVar("Parsed")


class FileError(NamedTuple):
    """A file that a reader skipped, and why.

    Attributes:
        file: its path, or the place of an entry in it.
        message: of the error.
        problem: ``unreadable``; ``missing``: there is no such file; ``package``: one that reads it is not installed.
    """

    file: str
    message: str
    problem: Literal["unreadable", "missing", "package"] = "unreadable"


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


def parse_each(
    files: Iterable[File], parse: Callable[[File], Parsed], where: Callable[[File], object] = str
) -> Iterator[Parsed]:
    """Yields what ``parse`` returns for each file.

    A SegkitError ends the reading, as usual; inside :func:`collect_errors` the file is listed and the next one is read,
    unless a package is missing, which the other files need too.

    Args:
        files: paths of annotation files or of the folders of images, or entries of one file.
        parse: reads one of them.
        where: the path of a file, or the place of an entry; called for those that cannot be read.
    """
    for file in files:
        try:
            parsed = parse(file)
        except SegkitError as error:
            errors = _collected.get()
            if errors is None:
                raise
            if isinstance(error, MissingPackage):
                errors.append(FileError(str(where(file)), str(error), "package"))
                return
            errors.append(FileError(str(where(file)), str(error)))
            continue
        yield parsed


def list_missing(folder: Path, missing: Sequence[str], hint: str) -> bool:
    """Lists missing files inside :func:`collect_errors`; returns False elsewhere.

    Args:
        folder: of the files.
        missing: names relative to the folder.
        hint: names that are probably meant, as the end of a message.
    """
    errors = _collected.get()
    if errors is None:
        return False
    for name in missing:
        errors.append(FileError(str(folder / name), f"there is no such file in {folder}{hint}", "missing"))
        hint = ""
    return True


def skip_missing(folder: Path, names: Sequence[str], what: str) -> set[str]:
    """Raises a SegkitError if files are missing in a folder.

    Inside :func:`collect_errors` they are listed and returned instead.

    Args:
        folder: of the files.
        names: relative to the folder, with ``/``.
        what: title of the files in the message: ``images of train.json``.
    """
    if _collected.get() is None:
        check_files(folder, names, what)
        return set()
    missing = missing_files(folder, names)
    list_missing(folder, missing, suggest_files(missing, files_in(folder), names) if missing else "")
    return set(missing)
