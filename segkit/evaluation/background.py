"""Calls that go on in a thread of their own, in order, while the caller computes what comes next."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Any

import torch


class BackgroundCalls:
    """Makes each call given to it in one thread, in the order they came.

    Used as a context: at its end all calls have been made. An error of a call ends the calls and is raised, as it is, at
    the next one given or at the end of the context. An error inside the context (Ctrl-C too) leaves out the calls that
    wait; the one being made is finished first.

    A call may use what the caller has just started to compute on a GPU: there it works on a stream of its own, behind
    what is queued when it is given, not behind what the caller queues after that. It is made in inference mode, without
    autocast.

    Args:
        function: what is called.
        device: where the caller computes.
        waiting: calls that may wait while one is being made; the next one given waits for room, so that memory is bounded.
    """

    def __init__(self, function: Callable[..., None], device: torch.device, *, waiting: int = 1) -> None:
        self._function = function
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._queue: Queue[tuple[Any, ...] | None] = Queue(waiting)
        self._error: BaseException | None = None
        self._stopped = False
        # A daemon, so that a second Ctrl-C ends the program although a call hangs.
        self._thread = Thread(target=self._work, name="segkit-background", daemon=True)

    def __call__(self, *arguments: Any) -> None:
        """Give a call; it is made later."""
        if self._error is not None:
            raise self._error
        given = None if self._stream is None else torch.cuda.current_stream(self._stream.device).record_event()
        self._queue.put((given, *arguments))

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
        # After an error or a stop the queue is still emptied, so that nobody waits for room in it.
        while (item := self._queue.get()) is not None:
            if self._error is None and not self._stopped:
                try:
                    self._make(*item)
                except BaseException as error:
                    self._error = error
            del item

    def _make(self, given: torch.cuda.Event | None, *arguments: Any) -> None:
        with torch.inference_mode():
            if self._stream is None or given is None:
                self._function(*arguments)
                return
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(given)
                self._function(*arguments)
            # The arguments' memory belongs to the caller's stream, which may use it anew once they are let go.
            self._stream.synchronize()
