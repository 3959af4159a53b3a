import logging
import os
import signal
import subprocess
import sys

import pytest

from segkit.utils.cli import Terminated, run_cli, sigterm_interrupts, typed_command
from segkit.utils.errors import RunInterrupted, SegkitError
from segkit.utils.logging import logging_from, setup_logging


def raiser(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    "main, status",
    [
        (lambda: None, 0),
        (lambda: 1, 1),
        (lambda: sys.exit(2), 2),
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
    err = capsys.readouterr().err
    assert "Traceback" not in err and len(err.splitlines()) <= 1


def test_an_error_is_one_line(capsys):
    with pytest.raises(SystemExit) as exit_:
        run_cli(raiser(SegkitError("no file 'x'")))
    err = capsys.readouterr().err
    assert exit_.value.code == 1 and "no file 'x'" in err and len(err.splitlines()) == 1


def test_ctrl_c_shows_what_was_printed_before(capfd):
    with pytest.raises(SystemExit):
        run_cli(lambda: print("half a table") or raiser(KeyboardInterrupt())())
    assert capfd.readouterr() == ("half a table\n", "interrupted\n")


@pytest.mark.parametrize(
    "words",
    [
        ["python", "tools/train_net.py", "--config-file", "my file.yaml"],
        ["python3.11", "-W", "ignore", "-m", "segkit", "train", "a.yaml"],
        ["/usr/bin/python", "-m", "segkit.tools.train_net", "x=[1, 2]"],
        ["python"],
    ],
)
def test_what_was_typed(monkeypatch, words):
    monkeypatch.setattr(sys, "orig_argv", words)
    assert typed_command() == words


def test_a_script_on_the_path_is_typed_by_its_name(monkeypatch, tmp_path):
    script = tmp_path / "segkit"
    script.write_text("#!/usr/bin/env python")
    script.chmod(0o755)
    words = ["/usr/bin/python3", str(script), "train", "a.yaml"]
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setenv("PATH", "/nowhere")
    assert typed_command() == words
    monkeypatch.setenv("PATH", str(tmp_path))
    assert typed_command() == ["segkit", "train", "a.yaml"]


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


def test_a_logger_is_silent_below_a_level(caplog):
    log = logging.getLogger("segkit.some.module")
    with caplog.at_level(logging.INFO, "segkit"):
        with pytest.raises(KeyError), logging_from(logging.ERROR):
            log.warning("hidden")
            log.error("shown")
            raise KeyError
        log.warning("as before")
    assert [record.message for record in caplog.records] == ["shown", "as before"]
