import logging
import os
import signal
import subprocess
import sys

import pytest

from segkit.utils.cli import Terminated, run_cli, sigterm_interrupts
from segkit.utils.errors import RunInterrupted, SegkitError
from segkit.utils.logging import setup_logging


def raiser(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    "main, status",
    [
        (lambda: None, 0),
        (raiser(SegkitError("no file 'x'")), 1),
        (raiser(KeyboardInterrupt()), 130),
        (raiser(Terminated()), 143),
        (raiser(RunInterrupted(15)), 75),
    ],
)
def test_exit_status(main, status, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_cli(main)
    assert exit_.value.code == status
    if status == 1:
        err = capsys.readouterr().err
        assert "no file 'x'" in err and "Traceback" not in err and len(err.splitlines()) == 1


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError):
        run_cli(lambda: 1 / 0)


def test_sigterm_ends_a_block_as_ctrl_c_does():
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the block goes on")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    own = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with sigterm_interrupts():
            os.kill(os.getpid(), signal.SIGTERM)  # the program's own handler stays
    finally:
        signal.signal(signal.SIGTERM, own)


def test_importing_it_does_not_import_torch():
    code = "import sys, segkit.utils.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_log_file_gets_each_message_once(tmp_path):
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        setup_logging(tmp_path)
        setup_logging(tmp_path)
        logging.getLogger("my_project.hooks").info("hello")
        logging.getLogger("segkit").warning("careful")
        logging.getLogger("segkit").debug("details")
        lines = (tmp_path / "log.txt").read_text().splitlines()
        assert [line.split(" ", 2)[2] for line in lines] == ["hello", "warning: careful"]
    finally:
        for handler in [h for h in root.handlers if h not in before]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
        logging.captureWarnings(False)
