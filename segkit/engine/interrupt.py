"""Signals that ask a run to end: they wait for the end of what must not be torn in two."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from segkit.utils.errors import RunInterrupted

_STOPPING = (signal.SIGINT, signal.SIGTERM)
# By SIGCHLD torch's DataLoader tells of a worker that died, raising an error wherever the main thread happens to be.
_DELAYED = (*_STOPPING, *([signal.SIGCHLD] if hasattr(signal, "SIGCHLD") else []))


@contextmanager
def stop_signals() -> Iterator[Callable[[], None]]:
    """Makes SIGINT and SIGTERM raise :class:`RunInterrupted`, once: a second one ends the process at once.

    Signals that are ignored, or that the program handles itself, stay as they are. Outside the main thread, where Python
    delivers no signals, it does nothing.

    Gives a function that raises once more what was raised where Python could only ignore it, as in a ``__del__``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    arrived: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        for other in ours:  # the system's own way needs no Python, which may be waiting for a kernel or a disk
            signal.signal(other, signal.SIG_DFL)
        raise RunInterrupted(number)

    def check() -> None:
        if arrived:
            raise RunInterrupted(arrived[0])

    before = {number: signal.getsignal(number) for number in _STOPPING}
    ours = [number for number in _STOPPING if before[number] in (signal.SIG_DFL, signal.default_int_handler)]
    try:
        for number in ours:
            signal.signal(number, stop)
        yield check
    finally:
        for number in ours:
            signal.signal(number, before[number])


class _Delay:
    """A handler that remembers which signals came, and ends the process at the second that asks for it."""

    def __init__(self, outer: bool) -> None:
        self.seen: list[int] = []
        self.outer = outer  # not inside another one

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number in _STOPPING:
            if any(earlier in _STOPPING for earlier in self.seen):
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            elif self.outer:  # os.write, for a handler may have come in the middle of a print
                os.write(2, b"finishing this step first; once more to stop at once, without saving\n")
        if number not in self.seen:
            self.seen.append(number)


@contextmanager
def delayed_interrupt() -> Iterator[None]:
    """Holds signals back until the block is done, then handles them: Ctrl-C raises its KeyboardInterrupt.

    For a step, or a checkpoint and the file that names it: short things which leave a state that cannot be resumed when
    only half of them happened. Outside the main thread, where Python delivers no signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler for number in _DELAYED if callable(handler := signal.getsignal(number))}
    delay = _Delay(outer=not any(isinstance(handler, _Delay) for handler in before.values()))
    try:
        for number in before:
            signal.signal(number, delay)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for seen in delay.seen:
        before[signal.Signals(seen)](seen, None)
