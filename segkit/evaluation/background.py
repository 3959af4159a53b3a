"""Runs calls in order in a background thread."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Any

import torch


class BackgroundCalls:
    """Queues calls of one function, which a single thread makes in their order.

    It is a context manager: at its end all calls have been made. An error of a call cancels the calls after it and is
    raised, unchanged, by the next call queued or at the end of the context. An error inside the context, Ctrl-C included,
    cancels the queued calls; the running one is finished first.

    A call may use results that the caller is still computing on a GPU. The thread has its own CUDA stream, which waits for
    what the caller has launched before it queues the call, but not for what the caller launches afterwards. Calls run in
    inference mode, without autocast.

    Args:
        function: called with the queued arguments.
        device: where the caller computes.
        waiting: number of calls that may be queued while one runs; queueing another blocks, so that memory is bounded.
    """

    def __init__(self, function: Callable[..., None], device: torch.device, *, waiting: int = 1) -> None:
        self._function = function
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._queue: Queue[tuple[Any, ...] | None] = Queue(waiting)
        self._error: BaseException | None = None
        self._stopped = False
        # A daemon, so that a second Ctrl-C ends the program even if a call hangs.
        self._thread = Thread(target=self._work, name="segkit-background", daemon=True)

    def __call__(self, *arguments: Any) -> None:
        """Queues a call; raises the error of an earlier one."""
        if self._error is not None:
            raise self._error
        launched = None if self._stream is None else torch.cuda.current_stream(self._stream.device).record_event()
        self._queue.put((launched, *arguments))

    def __enter__(self) -> BackgroundCalls:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped = error is not None
        self._queue.put(None)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def _work(self) -> None:
        # After an error or a stop the queue is still emptied, so that no caller blocks on a full queue.
        while (item := self._queue.get()) is not None:
            if self._error is None and not self._stopped:
                try:
                    self._make(*item)
                except BaseException as error:
                    self._error = error
            del item

    def _make(self, launched: torch.cuda.Event | None, *arguments: Any) -> None:
        with torch.inference_mode():
            if self._stream is None or launched is None:
                self._function(*arguments)
                return
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(launched)
                self._function(*arguments)
            # The arguments' memory belongs to the caller's stream, which may reuse it once they are freed.
            self._stream.synchronize()
