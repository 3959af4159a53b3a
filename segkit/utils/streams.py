"""Makes stdout and stderr robust: characters that the encoding lacks, readers that close the pipe."""

from __future__ import annotations

import io
import os
import sys


def make_streams_lenient() -> None:
    """Makes stdout and stderr write characters that their encoding lacks as escapes (``\\xd7``) instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_stdout() -> None:
    """Redirects stdout to the null device after its reader closed the pipe, so that the flush at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
