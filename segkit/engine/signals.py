"""SIGINT and SIGTERM: how they end a run, and in which blocks they are delayed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from segkit.utils import distributed
from segkit.utils.errors import PeerLost, RunInterrupted

_STOPPING = (signal.SIGINT, signal.SIGTERM)
# torch's DataLoader handles SIGCHLD: if a worker has died it raises an error, wherever the main thread happens to be.
_DELAYED = (*_STOPPING, *([signal.SIGCHLD] if hasattr(signal, "SIGCHLD") else []))


@contextmanager
def stop_signals() -> Iterator[Callable[[], None]]:
    """Makes SIGINT and SIGTERM raise :class:`RunInterrupted` in the block.

    A second signal ends the process at once. Signals that are ignored or that the program handles itself stay as they
    are. Outside the main thread, where Python delivers no signals, this does nothing.

    Yields a function that raises again what Python could only ignore, as in a ``__del__``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.getsignal(number) for number in _STOPPING}
    stop = _Stop([number for number in _STOPPING if before[number] in (signal.SIG_DFL, signal.default_int_handler)])
    try:
        for number in stop.signals:
            signal.signal(number, stop)
        yield stop.check
    finally:
        for number in stop.signals:
            signal.signal(number, before[number])


class _Stop:
    """A handler that raises at the first signal, and leaves the next to the system."""

    def __init__(self, signals: Sequence[signal.Signals]) -> None:
        self.signals = signals
        self.arrived: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.arrived = number
        for other in self.signals:  # the system's default handler works even while Python waits for a kernel or a disk
            signal.signal(other, signal.SIG_DFL)
        raise RunInterrupted(number)

    def check(self) -> None:
        if self.arrived is not None:
            raise RunInterrupted(self.arrived)


class _Delay:
    """A handler that records signals, and ends the process at the second one of those that end it."""

    def __init__(self, before: Mapping[signal.Signals, Any]) -> None:
        self.seen: list[int] = []
        self.outer = not any(isinstance(handler, _Delay) for handler in before.values())
        self.ending = [number for number in _STOPPING if _is_ending(number, before.get(number))]

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number in self.ending:
            if any(earlier in self.ending for earlier in self.seen):
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            elif self.outer:  # os.write, because a handler may be called in the middle of a print
                os.write(2, b"finishing this step first; once more to stop at once, without saving\n")
        if number not in self.seen:
            self.seen.append(number)

    def interrupted(self) -> bool:
        return any(number in self.ending for number in self.seen)


def _is_ending(number: int, handler: Any) -> bool:
    """Whether a handler ends the run, and is not the program's own."""
    return isinstance(handler, _Stop) or (
        number in handler.ending if isinstance(handler, _Delay) else handler is signal.default_int_handler
    )


@contextmanager
def delayed_interrupt() -> Iterator[Callable[[], bool]]:
    """Delays signals to the end of the block; Ctrl-C then raises its KeyboardInterrupt.

    For a step, or a checkpoint and the file that names it: short operations that leave a state that cannot be resumed
    if only half of them happens. Outside the main thread, where Python delivers no signals, this does nothing.

    Yields a function that returns whether a signal has come that will end the run.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: handler for number in _DELAYED if callable(handler := signal.getsignal(number))}
    around = next(iter(before.values()), None)
    if isinstance(around, _Delay) and all(handler is around for handler in before.values()):
        yield around.interrupted  # an outer block delays all of them already
        return
    delay = _Delay(before)
    try:
        for number in before:
            signal.signal(number, delay)
        yield delay.interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for seen in delay.seen:
        before[signal.Signals(seen)](seen, None)


@contextmanager
def signals_between_steps() -> Iterator[Callable[[], bool]]:
    """Delays signals in all processes except the first.

    All processes end after the same step. The first process, which saves the run, leaves an evaluation at once. If the
    signal came to another process too, the loss of the first one is no error there.

    Yields a function that returns whether a signal has come that will end the run.
    """
    if distributed.is_main():
        yield lambda: False
        return
    with delayed_interrupt() as held:
        try:
            yield held
        except PeerLost as lost:
            if held():
                raise RunInterrupted(signal.SIGTERM) from lost
            raise
