"""Runs a script in a process that has torch imported already.

It is not a fork of the test's own process, whose libraries may have threads that a fork would wait for in vain.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
import traceback
from pathlib import Path
from subprocess import CompletedProcess

CONTEXT = multiprocessing.get_context("forkserver")  # the server that tests/engine/process_runner.py uses, too
CONTEXT.set_forkserver_preload(["torch", "numpy", "segkit.engine.run", "processes"])


def run_script(script, *arguments, folder, timeout=300):
    """Returns what ``subprocess.run`` does, of a script in a working directory."""
    words = [str(script), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as logs:
        files = [Path(logs) / name for name in ("out", "err")]
        process = CONTEXT.Process(target=_run, args=(words, folder, files, dict(os.environ)))
        process.start()
        process.join(timeout)
        hangs = process.is_alive()
        if hangs:
            process.kill()
            process.join()
        assert not hangs, f"{script} hangs: {files[1].read_text()}"
        return CompletedProcess(words, process.exitcode, *(file.read_text() for file in files))


def _run(words, folder, files, environment):
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files, start=1):
        with open(file, "wb") as stream:
            os.dup2(stream.fileno(), number)
    os.chdir(folder)
    sys.argv = words
    sys.path.insert(0, str(Path(words[0]).parent))
    try:
        runpy.run_path(words[0], run_name="__main__")
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
