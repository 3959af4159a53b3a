"""Where log messages go: the terminal, and ``log.txt`` in the run's folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from termcolor import colored

from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
_COLOURS = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}
_CHATTY = ("matplotlib", "PIL", "fontTools", "fvcore", "iopath", "tensorboard")


_arguments: dict[str, Any] | None = None


class LineFormatter(logging.Formatter):
    """``12:30:59 message``; warnings and errors say what they are, in colour where the output is a terminal."""

    def __init__(self, *, colour: bool, date: bool, process: int = 0) -> None:
        super().__init__("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S")
        self.colour = colour
        self.process = f"process {process}: " if process else ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        text = super().formatTime(record, datefmt)
        return colored(text, "green", force_color=True) if self.colour else text

    def formatMessage(self, record: logging.LogRecord) -> str:
        level = ""
        if record.levelno >= logging.WARNING:
            level = record.levelname.lower() + ": "
            if self.colour:
                level = colored(level, _COLOURS.get(record.levelno, "red"), attrs=["bold"], force_color=True)
        return f"{record.asctime} {level}{self.process}{record.message}"


class Console(logging.StreamHandler):
    """Writes to a terminal or pipe of any encoding: what that lacks is written as an escape.

    Where the reader goes away (``| head``) or the disk is full, the messages end, and the program goes on.
    """

    ended = False

    def format(self, record: logging.LogRecord) -> str:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        return super().format(record).encode(encoding, "backslashreplace").decode(encoding)

    def emit(self, record: logging.LogRecord) -> None:
        if not self.ended:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.ended = True
        if not isinstance(error, BrokenPipeError) and sys.stderr is not None:
            print(f"stdout cannot be written: {error.strerror}", file=sys.stderr)


class LogFile(logging.FileHandler):
    """Says once on stderr that it cannot be written, as on a full disk, where logging's own prints a traceback a line."""

    told = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.told:
            self.told = True
            print(f"{self.baseFilename} cannot be written: {error.strerror}", file=sys.stderr)


def setup_logging(output_dir: str | Path | None = None, process: int = 0) -> None:
    """Shows messages of level INFO on stdout and, with ``output_dir``, appends them to ``output_dir/log.txt``.

    The handlers are the root logger's, so that the messages of a user's own modules are shown too. Calling it again
    replaces what the last call set up. Where the program has a console handler of its own, no second one is added.

    Of several processes those after the first one show warnings only, with their number, and write no file.
    """
    global _arguments
    _arguments = {"output_dir": str(output_dir) if output_dir is not None else None, "process": process}
    root = logging.getLogger()
    for handler in [h for h in root.handlers if getattr(h, "segkit", False)]:
        root.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = []
    if sys.stdout is not None and not any(type(handler) is logging.StreamHandler for handler in root.handlers):
        console = Console(sys.stdout)
        console.setFormatter(LineFormatter(colour=sys.stdout.isatty(), date=False, process=process))
        console.addFilter(lambda record: not hasattr(record, "for_file"))
        if process:
            console.setLevel(logging.WARNING)
        handlers.append(console)
    if output_dir is not None and not process:
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        file = LogFile(folder / "log.txt", encoding="utf-8", errors="backslashreplace")
        file.setFormatter(LineFormatter(colour=False, date=True))
        handlers.append(file)
    for handler in handlers:
        handler.segkit = True  # type: ignore[attr-defined]  # how the next call finds it
        root.addHandler(handler)
    root.setLevel(min(root.level or logging.INFO, logging.INFO))
    logging.captureWarnings(True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def logging_arguments() -> dict[str, Any] | None:
    """What :func:`setup_logging` was last called with in this process; None where none of its handlers is left."""
    return _arguments if any(getattr(handler, "segkit", False) for handler in logging.getLogger().handlers) else None


def setup_worker_logging(arguments: dict[str, Any] | None) -> None:
    """Sets up a worker process as the main one, unless it has its handlers already, as a forked one has.

    Args:
        arguments: the main process' :func:`logging_arguments`.
    """
    if arguments is not None and logging_arguments() is None:
        setup_logging(**arguments)


@contextmanager
def error_logged() -> Iterator[None]:
    """Puts the error that ends the block into ``log.txt``, which may be all that is left of a run in the night.

    The terminal gets it from whoever catches it. A traceback is for what is no mistake of the user.
    """
    try:
        yield
    except Exception as error:
        message = f"the run ended with {type(error).__name__}: {error}"
        logger.error("%s", message, exc_info=not isinstance(error, SegkitError), extra={"for_file": True})
        raise


@contextmanager
def failure_warned(what: str) -> Iterator[None]:
    """Makes an exception of the block a warning that ``what`` is missing; ``log.txt`` has its traceback.

    For what a run does besides its work, such as pictures: it does not end for it. Ctrl-C is not caught.
    """
    try:
        yield
    except Exception as error:
        logger.warning("%s could not be made (%s: %s); the run goes on without", what, type(error).__name__, error)
        if not isinstance(error, SegkitError):
            logger.warning("%s", what, exc_info=True, extra={"for_file": True})
