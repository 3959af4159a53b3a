"""The command that is printed where a run ends before its time: it can be pasted."""

import subprocess
import sys

import pytest

from segkit.engine.resume_command import resume_command


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
