"""Terminals and pipes whose encoding lacks characters."""

from __future__ import annotations

import io
import os
import sys


def make_streams_lenient() -> None:
    """Lets stdout and stderr write what their encoding lacks as an escape (``\\xd7``), instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_stdout() -> None:
    """Sends the rest of stdout nowhere, where its reader went away: the flush at exit would raise an error once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
