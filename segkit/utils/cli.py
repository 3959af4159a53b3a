"""How a command line tool ends: one message for a user's mistake, a traceback for ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from termcolor import colored

from segkit.utils.errors import SegkitError


def run_cli(main: Callable[[], object]) -> NoReturn:
    """Runs a tool's ``main`` and leaves the process.

    Exit status: 0; 1 after a :class:`SegkitError`, whose message alone is printed on stderr; 130 after Ctrl-C, as
    shells have it. Any other exception is a defect and shows its traceback. A reader that went away (``| head``) ends
    it quietly.
    """
    try:
        main()
        sys.stdout.flush()
    except SegkitError as error:
        sys.stdout.flush()
        print(f"{colored('error:', 'red', attrs=['bold'])} {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit complains once more
        sys.exit(1)
    sys.exit(0)
