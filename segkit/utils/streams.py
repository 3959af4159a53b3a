"""Makes stdout and stderr robust against missing characters and closed pipes."""

from __future__ import annotations

import io
import os
import sys


def make_streams_lenient() -> None:
    """Makes stdout and stderr escape characters that their encoding lacks (``\\xd7``)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_stdout() -> None:
    """Redirects stdout to the null device after its reader closed the pipe.

    Otherwise the flush at exit would fail.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
