"""Runs a command's main function: one message for a user's mistake, exit status."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from segkit.utils.errors import PeerLost, RunInterrupted, SegkitError
from segkit.utils.streams import drop_stdout, make_streams_lenient

# EX_TEMPFAIL of sysexits.h: try again later. Shells report 130 and 143 for a process that a signal ended anywhere, so these
# two cannot say that there is something to resume.
RESUMABLE = 75
# Seconds that a process waits after losing another one, so that the launcher sees that one end first and takes its status.
PEER_FIRST = 2.0


class Terminated(KeyboardInterrupt):
    """SIGTERM, inside :func:`sigterm_interrupts`."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Makes SIGTERM end the block as Ctrl-C does, so that finished work can be saved.

    A second SIGTERM kills the process. Does nothing if the program has a SIGTERM handler of its own, or outside the main
    thread.
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


def typed_command() -> list[str]:
    """Returns the words that started this process, as they were typed.

    ``segkit train ...``, ``python -m segkit train ...``, ``python tools/train_net.py ...``. In a process that torchrun
    started they are the words by which torchrun started it.
    """
    words = list(sys.orig_argv) or [sys.executable, *sys.argv]
    script = words[1] if len(words) > 1 else ""
    name = os.path.basename(script)
    found = shutil.which(name) if name and not script.startswith("-") else None
    if found is not None and os.path.realpath(found) == os.path.realpath(script):
        return [name, *words[2:]]  # a script on the PATH, whose first line names the interpreter
    return words


def run_cli(main: Callable[[], object]) -> NoReturn:
    """Runs a command's ``main`` and ends the process.

    A SegkitError prints its message alone on stderr; any other exception is a defect and shows its traceback. A reader that
    went away (``| head``) ends the process quietly. Characters that the terminal's encoding lacks are written as escapes.

    Args:
        main: reads the arguments and does the work. An int that it returns is the exit status.
    Exit status:
        0; 1 after a :class:`SegkitError`; 2 after a mistake in the arguments (argparse); 75 if SIGINT or SIGTERM ended a
        training that ``--resume`` can continue; 130 after Ctrl-C anywhere else and 143 after SIGTERM, as in shells.
    """
    make_streams_lenient()
    try:
        status = main()
        _flush()
    except SystemExit:
        _flush_quietly()
        raise
    except SegkitError as error:
        _flush_quietly()
        process = f" process {number}:" if (number := os.environ.get("RANK", "0")) != "0" else ""
        print(f"{_error_label()}{process} {error}", file=sys.stderr)
        if isinstance(error, PeerLost):
            time.sleep(PEER_FIRST)
        sys.exit(1)
    except RunInterrupted as interruption:
        _flush_quietly()
        if os.environ.get("RANK", "0") == "0":  # of several processes only the first prints the error
            print(f"interrupted by {interruption}; --resume goes on (exit status {RESUMABLE})", file=sys.stderr)
        sys.exit(RESUMABLE)
    except KeyboardInterrupt as interruption:
        _flush_quietly()
        terminated = isinstance(interruption, Terminated)
        detail = f": {interruption}" if str(interruption) else ""
        print(f"interrupted{' by SIGTERM' if terminated else ''}{detail}", file=sys.stderr)
        sys.exit(143 if terminated else 130)
    except BrokenPipeError:
        drop_stdout()
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def _error_label() -> str:
    from termcolor import colored  # here, so that `segkit doctor` works without it

    return colored("error:", "red", attrs=["bold"])


def _flush() -> None:
    if sys.stdout is not None:  # None: the program was started with it closed
        sys.stdout.flush()


def _flush_quietly() -> None:
    """Flushes stdout before an error is printed; a reader that went away is no second error."""
    try:
        _flush()
    except BrokenPipeError:
        drop_stdout()
