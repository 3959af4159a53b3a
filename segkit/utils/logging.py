"""Sends log messages to the terminal and to ``log.txt`` in the output folder."""

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
    """Formats ``12:30:59 message``.

    Warnings and errors start with their level, in colour on a terminal.
    """

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
    """Writes to a terminal or pipe; characters that its encoding lacks are written as escapes.

    If the reader closes the pipe (``| head``) or the disk is full, no more messages are written and the program goes on.
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
    """Appends to a file; warns once on stderr if that fails, as on a full disk.

    The base class would print one traceback for each message.
    """

    warned = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.warned:
            self.warned = True
            print(f"{self.baseFilename} cannot be written: {error.strerror}", file=sys.stderr)


def setup_logging(output_dir: str | Path | None = None, process: int = 0) -> None:
    """Shows INFO messages on stdout and, with ``output_dir``, appends them to ``log.txt``.

    The handlers belong to the root logger, so that messages of a user's own modules are shown too. A second call
    replaces the handlers of the first. If the program has a console handler already, no other one is added.

    Args:
        output_dir: folder of ``log.txt``, created if it does not exist; None: no file.
        process: rank in a distributed run. Ranks above 0 show warnings only, with their rank, and write no file.
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
        handler.segkit = True  # type: ignore[attr-defined]  # marks the handlers that the next call replaces
        root.addHandler(handler)
    root.setLevel(min(root.level or logging.INFO, logging.INFO))
    logging.captureWarnings(True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def logging_arguments() -> dict[str, Any] | None:
    """The arguments of the last :func:`setup_logging` in this process.

    Returns None if none of its handlers is left.
    """
    return _arguments if any(getattr(handler, "segkit", False) for handler in logging.getLogger().handlers) else None


def setup_worker_logging(arguments: dict[str, Any] | None) -> None:
    """Sets up logging in a worker process as in the main process.

    It does nothing in forked workers.

    Args:
        arguments: :func:`logging_arguments` of the main process.
    """
    if arguments is not None and logging_arguments() is None:
        setup_logging(**arguments)


@contextmanager
def error_logged() -> Iterator[None]:
    """Writes an exception of the block to ``log.txt`` and raises it again.

    Exceptions other than SegkitError are logged with their traceback.

    The terminal does not get the message, because the caller prints the exception.
    """
    try:
        yield
    except Exception as error:
        message = f"the run ended with {type(error).__name__}: {error}"
        logger.error("%s", message, exc_info=not isinstance(error, SegkitError), extra={"for_file": True})
        raise


@contextmanager
def failure_warned(what: str) -> Iterator[None]:
    """Turns an exception of the block into a warning that ``what`` is missing.

    ``log.txt`` gets the traceback.

    For extras of a run, such as pictures, whose failure should not end it. Ctrl-C is not caught.
    """
    try:
        yield
    except Exception as error:
        logger.warning("%s could not be made (%s: %s); the run continues", what, type(error).__name__, error)
        if not isinstance(error, SegkitError):
            logger.warning("%s", what, exc_info=True, extra={"for_file": True})


@contextmanager
def logging_from(level: int, name: str = "segkit") -> Iterator[None]:
    """Context in which a logger and those below it are silent below ``level``.

    Args:
        level: as ``logging.ERROR``.
        name: of the logger.
    """
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(before)
