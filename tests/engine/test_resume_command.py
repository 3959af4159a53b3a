"""The command that is printed where a run ends before its time: it can be pasted."""

import importlib.machinery
import subprocess
import sys
import types

import pytest

from segkit.engine import resume_command as module
from segkit.engine.resume_command import program_words, resume_command


def command(*arguments, several=False, **environment):
    return resume_command("train.py", arguments, several=several, environment=environment)


def test_what_starts_a_run_is_left_out():
    python = sys.orig_argv[0]
    assert command("--config-file", "my file.yaml") == f"{python} train.py --config-file 'my file.yaml' --resume"
    assert command("--resume", "a=1") == f"{python} train.py --resume a=1"
    for start in (["--weights", "x.pth"], ["--weights=x.pth"], ["--wei", "x.pth"], ["--restart"], ["--rest"]):
        assert command(*start, "a=1") == f"{python} train.py a=1 --resume"


ONE = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"}
TWO = ONE | {
    "GROUP_WORLD_SIZE": "2", "GROUP_RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "node1", "MASTER_PORT": "29500",
}  # fmt: skip


def test_it_is_started_as_it_was():
    python = sys.orig_argv[0]
    assert command("a=1", **ONE) == "torchrun --standalone --nproc-per-node 2 train.py a=1 --resume"
    place = "--nnodes 2 --node-rank 0 --nproc-per-node 2 --master-addr node1 --master-port 29500"
    machines = "\n  (on each machine, with its own {})"
    assert command("a=1", **TWO) == f"torchrun {place} train.py a=1 --resume" + machines.format("--node-rank")
    several = ["--num-gpus", "2"]
    assert command(*several, several=True, **ONE) == f"{python} train.py --num-gpus 2 --resume"
    several += ["--num-machines", "2", "--machine-rank", "0", "--master-address", "node1:29500"]
    expected = f"{python} train.py {' '.join(several)} --resume" + machines.format("--machine-rank")
    assert command(*several, several=True, **TWO) == expected
    by_hand = command("a=1", WORLD_SIZE="3")
    assert by_hand == f"{python} train.py a=1 --resume\n  (in 3 processes, by the launcher that started them)"


def test_a_module_is_started_as_a_module():
    python, words = sys.orig_argv[0], ["-m", "segkit.tools.train_net"]
    assert resume_command(words, ["a=1"], environment={}) == f"{python} -m segkit.tools.train_net a=1 --resume"
    by_torchrun = "torchrun --standalone --nproc-per-node 2 -m segkit.tools.train_net a=1 --resume"
    assert resume_command(words, ["a=1"], environment=ONE) == by_torchrun
    several = resume_command(words, ["--num-gpus", "2"], several=True, environment=ONE)
    assert several == f"{python} -m segkit.tools.train_net --num-gpus 2 --resume"


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
def test_the_words_that_started_the_program(monkeypatch, name, origin, first, expected):
    main = types.ModuleType("__main__")
    main.__spec__ = None if name is None else importlib.machinery.ModuleSpec(name, None, origin=origin)
    monkeypatch.setattr(module.sys, "modules", {"__main__": main})
    monkeypatch.setattr(module.sys, "argv", [first, "--resume"])
    assert program_words() == expected


SCRIPT = """
import os, sys
from segkit.engine.resume_command import resume_command

if "--resume" in sys.argv:
    print(f"again {os.environ['RANK']} of {os.environ['WORLD_SIZE']}", flush=True)
elif os.environ["RANK"] == "0":
    print("told", resume_command(sys.argv[0], sys.argv[1:]), flush=True)
"""


@pytest.mark.slow
def test_what_torchrun_started_can_be_pasted(tmp_path):
    (tmp_path / "a script.py").write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]

    def output(*command, **settings):
        return subprocess.run(*command, capture_output=True, text=True, timeout=100, check=True, **settings).stdout

    told = output([*torchrun, str(tmp_path / "a script.py"), "x=[1, 2]"])
    pasted = told.removeprefix("told ").strip().replace("torchrun", f"{sys.executable} -m torch.distributed.run", 1)
    assert sorted(output(pasted, shell=True).split("\n")) == ["", "again 0 of 2", "again 1 of 2"]
