"""What the commands print for ``--help``."""

from __future__ import annotations

import os
import subprocess
import sys


def command_help(*words: str) -> str:
    """``segkit WORDS --help`` as a block of text."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "segkit", *words, "--help"], capture_output=True, text=True, check=True, env=environment
    )
    return f"```text\n{result.stdout.rstrip()}\n```"
