import logging
import os
import shlex
import signal
import subprocess
import sys

import pytest

from segkit.utils.cli import TYPED, Terminated, remember_typed_command, run_cli, sigterm_interrupts, typed_command
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


def typed(monkeypatch, original, argv=None):
    monkeypatch.setattr(sys, "orig_argv", original)
    monkeypatch.setattr(sys, "argv", argv or original[1:])
    return shlex.join(typed_command())


def test_what_was_typed(monkeypatch, tmp_path):
    for variable in (TYPED, "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(variable, raising=False)
    script = ["python", "tools/train_net.py", "--config-file", "my file.yaml"]
    assert typed(monkeypatch, script) == "python tools/train_net.py --config-file 'my file.yaml'"
    module = ["python", "-m", "segkit", "train", "a.yaml"]
    assert typed(monkeypatch, module, ["segkit/__main__.py", "train", "a.yaml"]) == "python -m segkit train a.yaml"


def test_a_script_on_the_path_is_typed_by_its_name(monkeypatch, tmp_path):
    script = tmp_path / "segkit"
    script.write_text("#!/usr/bin/env python")
    script.chmod(0o755)
    words = ["/usr/bin/python3", str(script), "train", "a.yaml"]
    monkeypatch.setenv("PATH", "/nowhere")
    assert typed(monkeypatch, words) == shlex.join(words)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert typed(monkeypatch, words) == "segkit train a.yaml"


def test_processes_that_a_command_starts_know_its_words(monkeypatch):
    monkeypatch.setenv(TYPED, "")  # restored afterwards
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "segkit", "train", "x=[1, 2]"])
    remember_typed_command()
    child = ["/usr/bin/python3", "-u", "-m", "segkit", "train", "x=[1, 2]"]
    assert typed(monkeypatch, child) == shlex.join(child)  # a command of its own, which inherits the variable
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert typed(monkeypatch, child) == "python -m segkit train 'x=[1, 2]'"


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
