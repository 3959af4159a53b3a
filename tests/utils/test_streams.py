"""Terminals of other encodings, closed pipes, and log files."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segkit.utils.errors import SegkitError
from segkit.utils.logging import Console, LogFile, failure_warned, setup_logging

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import logging
from segkit.utils.cli import run_cli
from segkit.utils.errors import SegkitError
from segkit.utils.logging import LogFile, setup_logging
TEXT = "2 \\u00d7 3 \\u2026 \\u7ec6\\u80de a\\udcffb"
def main():
    setup_logging()
    for _ in range(200):
        logging.getLogger("segkit").info("logged %s", TEXT)
    print("printed", TEXT)
    raise SegkitError("failed " + TEXT)
run_cli(main)
"""


def run(encoding, **pipes):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    return subprocess.run([sys.executable, "-c", CODE], env=env, stderr=subprocess.PIPE, timeout=60, **pipes)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "shift_jis"])
def test_any_encoding(encoding):
    done = run(encoding, stdout=subprocess.PIPE)
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    assert done.returncode == 1 and "Traceback" not in err and "Logging error" not in err
    assert out.count("logged 2 ") == 200 and "printed 2 " in out and "failed 2 " in err
    assert r"a\udcffb" in out and r"a\udcffb" in err
    assert ("×" in out) == (encoding != "ascii") and (r"\u7ec6" in out) == (encoding != "utf-8")


@pytest.mark.skipif(os.name != "posix", reason="pipes as on POSIX")
def test_a_reader_that_closes_the_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run("utf-8", stdout=writer)
    finally:
        os.close(writer)
    err = done.stderr.decode()
    assert done.returncode == 1 and "Traceback" not in err and "Logging error" not in err


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor")
def test_a_closed_stdout():
    done = run("utf-8", preexec_fn=lambda: os.close(1))
    assert done.returncode == 1 and b"Traceback" not in done.stderr and b"failed 2 " in done.stderr


def test_a_full_disk_behind_stdout_is_reported_once(capsys):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    console = Console(Full())
    for _ in range(3):
        console.handle(logging.LogRecord("x", logging.INFO, "", 0, "text", (), None))
    assert capsys.readouterr().err == "stdout cannot be written: No space left on device\n"


@pytest.mark.parametrize("text", ["细胞", "a\udcffb", "2 × 3 …", "\x1b", "😀"])
def test_the_log_file_is_utf_8(tmp_path, text, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    setup_logging(tmp_path)
    # Passed to the handler directly: pytest captures loggers, and pytest-xdist cannot send invalid UTF-8.
    [handler] = [handler for handler in logging.getLogger().handlers if isinstance(handler, LogFile)]
    handler.handle(logging.LogRecord("segkit", logging.INFO, "", 0, "%s", (text,), None))
    logged = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert text.encode("utf-8", "backslashreplace").decode() in logged


def test_failures_of_extras_are_warnings(caplog):
    with failure_warned("curves.png"):
        raise ZeroDivisionError("by zero")
    with failure_warned("pictures"):
        raise SegkitError("no room")
    assert "curves.png could not be made (ZeroDivisionError: by zero); the run continues" in caplog.messages
    assert [bool(record.exc_info) for record in caplog.records] == [False, True, False]
    with pytest.raises(KeyboardInterrupt), failure_warned("pictures"):
        raise KeyboardInterrupt
