"""What the commands print for ``--help``."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec


def command_help(*words: str) -> str:
    """``segkit WORDS --help`` as a block of text."""
    if find_spec("segkit.__main__") is None:
        return f"`segkit {' '.join(words)} --help` prints the arguments."
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "segkit", *words, "--help"], capture_output=True, text=True, check=True, env=environment
    )
    return f"```text\n{result.stdout.rstrip()}\n```"
