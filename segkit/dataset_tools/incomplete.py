"""A folder that is being written, which says so until all of it is there."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from segkit.data.formats.recognition import INCOMPLETE
from segkit.utils.errors import SegkitError


class IncompleteFolder:
    """Marks a folder as incomplete while its ``with`` block writes it.

    An error of the block says how far it came. The file ``INCOMPLETE.txt`` stays after an error, so that the folder is not
    taken for a whole data set.

    Args:
        folder: an empty folder.
        total: number of images to write.
    Attributes:
        done: number of images written; the block counts it.
    Raises:
        SegkitError: the block raised SegkitError or OSError.
        KeyboardInterrupt: the block was interrupted; the message says how far it came.
    """

    def __init__(self, folder: Path, total: int) -> None:
        self.folder, self.total, self.done = folder, total, 0

    def __enter__(self) -> IncompleteFolder:
        text = "segkit is writing this data set, or was stopped before the end.\n"
        (self.folder / INCOMPLETE).write_text(text, encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            (self.folder / INCOMPLETE).unlink()
            return
        state = f"'{self.folder}' is incomplete after {self.done:,} of {self.total:,} images"
        if isinstance(error, SegkitError):
            raise SegkitError(f"{error}; {state}", key=error.key, value=error.value) from error
        if isinstance(error, OSError):
            what = f"'{error.filename or self.folder}' cannot be written: {error.strerror or error}"
            raise SegkitError(f"{what}; {state}", value=str(self.folder)) from error
        if isinstance(error, KeyboardInterrupt):
            error.args = (f"{state}; delete it and start again",)
