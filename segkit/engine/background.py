"""Writing beside the training, which waits for a copy of its state and not for the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import Tensor


class BackgroundWriter:
    """Does one piece of writing at a time in a thread, in the order in which they come.

    An error is raised where the next piece is handed in, and by :meth:`check` and :meth:`wait`. The thread is no daemon:
    the interpreter's exit waits for it.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def submit(self, write: Callable[[], None]) -> None:
        """Begins with ``write``, once the piece before it is done: never more than one copy of a state is waiting.

        Raises:
            whatever the piece before it raised; ``write`` has then not begun.
        """
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="checkpoint writer")
        self._thread.start()

    def check(self) -> None:
        """Raises what the last piece raised, if it is done and has failed; once."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Waits for the last piece; raises as :meth:`check` does."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:
            self._error = error


def host_copy(value: Any) -> Any:
    """Nested dicts, lists and tuples with a copy of each tensor in the host's memory, which training cannot change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: host_copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(host_copy(item) for item in value)
    return value
