"""How a command line tool ends: one message for a user's mistake, a traceback for ours."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from termcolor import colored

from segkit.utils.errors import PeerLost, RunInterrupted, SegkitError
from segkit.utils.streams import drop_stdout, make_streams_lenient

# What sysexits.h calls EX_TEMPFAIL: try again later. 130 and 143 are what shells report of a process that a signal ended
# wherever it was, so they cannot tell that there is something to resume.
RESUMABLE = 75
PEER_FIRST = 2.0  # seconds, in which the launcher sees the end of the process that is the cause, and takes its status


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it ends the work as Ctrl-C does."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Makes SIGTERM end the block as Ctrl-C does, so that what is done can be saved; a second one ends it at once.

    A handler of the program's own stays, and outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def run_cli(main: Callable[[], object]) -> NoReturn:
    """Runs a tool's ``main`` and leaves the process.

    Exit status: 0; 1 after a :class:`SegkitError`, whose message alone is printed on stderr; 75 where SIGINT or SIGTERM
    ended a training, which ``--resume`` goes on with; 130 after Ctrl-C anywhere else and 143 after SIGTERM, as shells have
    them. Any other exception is a defect and shows its traceback. A reader that went away (``| head``) ends it quietly.
    Characters that the terminal's encoding lacks are written as escapes.
    """
    make_streams_lenient()
    try:
        main()
        _flush()
    except SegkitError as error:
        _flush_quietly()
        process = f" process {number}:" if (number := os.environ.get("RANK", "0")) != "0" else ""
        print(f"{colored('error:', 'red', attrs=['bold'])}{process} {error}", file=sys.stderr)
        if isinstance(error, PeerLost):
            time.sleep(PEER_FIRST)
        sys.exit(1)
    except RunInterrupted as interruption:
        _flush_quietly()
        if os.environ.get("RANK", "0") == "0":  # of several processes all end so
            print(f"interrupted by {interruption}; --resume goes on (exit status {RESUMABLE})", file=sys.stderr)
        sys.exit(RESUMABLE)
    except KeyboardInterrupt as interruption:
        terminated = isinstance(interruption, Terminated)
        print("interrupted by SIGTERM" if terminated else "interrupted", file=sys.stderr)
        sys.exit(143 if terminated else 130)
    except BrokenPipeError:
        drop_stdout()
        sys.exit(1)
    sys.exit(0)


def _flush() -> None:
    if sys.stdout is not None:  # None: the program was started with it closed
        sys.stdout.flush()


def _flush_quietly() -> None:
    """Writes what is left, where an error is about to be told; a reader that went away is no second error."""
    try:
        _flush()
    except BrokenPipeError:
        drop_stdout()
