"""The command that is printed when a run is interrupted: it can be pasted into the shell."""

import importlib.machinery
import os
import shlex
import subprocess
import sys
import types

import pytest

from segkit.engine.resume_command import COMMAND_VARIABLE, program_words, resume_command
from segkit.utils.cli import typed_command


@pytest.fixture
def typed(monkeypatch):
    """Returns the resume command of a process that was started with the given words."""

    def start(text, **environment):
        monkeypatch.setattr(sys, "orig_argv", shlex.split(text))
        return resume_command(environment)

    return start


@pytest.mark.parametrize(
    "text",
    [
        "python tools/train_net.py --config-file 'my file.yaml' a=1",
        "python3.11 -X dev -m segkit train --config-file f.yaml data.val=null",
        "python -m segkit.tools.train_net --config-file f.yaml",
        "./train.py 'data.classes=[a, b]'",
    ],
)
def test_it_is_the_command_that_was_typed_with_resume(typed, text):
    assert typed(text) == text + " --resume"
    assert typed(text + " --resume") == text + " --resume"


@pytest.mark.parametrize(
    "flags",
    ["--weights x.pth", "--weights=x.pth", "--wei x.pth", "--restart", "--rest", "--restart --weights x.pth"],
)
def test_flags_that_start_a_new_run_are_removed(typed, flags):
    assert typed(f"python train.py {flags} a=1") == "python train.py a=1 --resume"
    assert typed(f"python train.py a=1 {flags}") == "python train.py a=1 --resume"


def test_a_console_script_is_called_by_its_name(typed, tmp_path, monkeypatch):
    """The system starts it as ``python /path/to/segkit``."""
    script = tmp_path / "segkit"
    script.write_text("#!/usr/bin/env python\n")
    script.chmod(0o755)
    text = f"/usr/bin/python {script} train --config-file f.yaml --restart"
    assert typed(text) == f"/usr/bin/python {script} train --config-file f.yaml --resume"  # not on the PATH
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert typed(text) == "segkit train --config-file f.yaml --resume"


ONE = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"}
TWO = ONE | {
    "GROUP_WORLD_SIZE": "2", "GROUP_RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "node1", "MASTER_PORT": "29500",
}  # fmt: skip
NOTE = "\n  (on each machine, with its own {})"


@pytest.mark.parametrize("program", ["train.py", "-m segkit train"])
def test_torchrun(typed, program):
    child = f"/usr/bin/python -u {program} a=1"  # what torchrun starts
    assert typed(child, **ONE) == f"torchrun --standalone --nproc-per-node 2 {program} a=1 --resume"
    place = "--nnodes 2 --node-rank 0 --nproc-per-node 2 --master-addr node1 --master-port 29500"
    assert typed(child, **TWO) == f"torchrun {place} {program} a=1 --resume" + NOTE.format("--node-rank")


def test_processes_of_num_gpus_resume_by_the_command_that_started_them_all(typed):
    child, command = "/usr/bin/python -u train.py --num-gpus 2", "python train.py --num-gpus 2 --restart"
    assert typed(child, **ONE, **{COMMAND_VARIABLE: command}) == "python train.py --num-gpus 2 --resume"
    machines = "segkit train --num-gpus 2 --num-machines 2 --machine-rank 0 --master-address node1:29500"
    found = typed(child, **TWO, **{COMMAND_VARIABLE: machines})
    assert found == f"{machines} --resume" + NOTE.format("--machine-rank")


def test_another_launcher(typed):
    found = typed("python train.py a=1", WORLD_SIZE="3")
    assert found == "python train.py a=1 --resume\n  (in 3 processes, by the launcher that started them)"


@pytest.mark.parametrize(
    ("name", "origin", "first", "expected"),
    [
        ("segkit.tools.train_net", "segkit/tools/train_net.py", "segkit/tools/train_net.py", ["-m", "segkit.tools.train_net"]),
        ("my.tool.__main__", "my/tool/__main__.py", "my/tool/__main__.py", ["-m", "my.tool"]),
        ("pdb", "lib/pdb.py", "tools/train_net.py", ["tools/train_net.py"]),  # python -m pdb tools/train_net.py
        ("frozen", None, "tools/train_net.py", ["tools/train_net.py"]),
        (None, None, "tools/train_net.py", ["tools/train_net.py"]),  # python tools/train_net.py
    ],
)  # fmt: skip
def test_the_words_by_which_the_program_is_run(monkeypatch, name, origin, first, expected):
    main = types.ModuleType("__main__")
    main.__spec__ = None if name is None else importlib.machinery.ModuleSpec(name, None, origin=origin)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", [first, "--resume"])
    assert program_words() == expected


SCRIPT = """
import os, sys
from segkit.engine.launch import launch
from segkit.engine.resume_command import resume_command

if "--several" in sys.argv and "RANK" not in os.environ:
    sys.exit(launch(sys.argv, num_gpus=2))
if "--resume" in sys.argv:
    print(f"again {os.environ['RANK']} of {os.environ['WORLD_SIZE']}", flush=True)
elif os.environ["RANK"] == "0":
    print("to resume:", resume_command(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("several", [False, True])
def test_the_command_can_be_pasted(tmp_path, several):
    script = tmp_path / "a script.py"
    script.write_text(SCRIPT)
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    start = [sys.executable, *([] if several else torchrun), str(script), *(["--several"] if several else [])]

    def output(*command, **settings):
        return subprocess.run(*command, capture_output=True, text=True, timeout=100, check=True, **settings).stdout

    command = output([*start, "x=[1, 2]"]).removeprefix("to resume: ").strip()
    if several:
        assert shlex.split(command) == [*start, "x=[1, 2]", "--resume"]
    pasted = command.replace("torchrun", f"{sys.executable} -m torch.distributed.run", 1)
    assert sorted(output(pasted, shell=True).split("\n")) == ["", "again 0 of 2", "again 1 of 2"]


def test_this_process_was_typed_in_some_way():
    assert typed_command()[-1] == sys.orig_argv[-1]
