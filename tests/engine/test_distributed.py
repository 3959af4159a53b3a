"""Several processes: the same as one where that is possible, and no hang where one of them ends."""

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import process_runner
import processes
import pytest
import torch
from fakes import lines
from process_runner import run_in_processes

from segkit.config import load_config
from segkit.engine import read_checkpoint
from segkit.engine.launch import torchrun_arguments
from segkit.engine.train_step import seed_step
from segkit.utils import distributed
from segkit.utils.device import choose_device
from segkit.utils.errors import SegkitError

TOOL = Path(__file__).parents[2] / "tools" / "train_net.py"
SMALL = [
    "data.train={format: synthetic, num_images: 6, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 0}",
    "data.val={format: synthetic, num_images: 5, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 9}",
    "data.num_workers=0", "data.batch_size=6", "model.neck.out_channels=16", "train.device=cpu",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    """As in the other processes: sums in another order have other last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(folder, *overrides):
    return load_config("segkit://quickstart.yaml", [*SMALL, f"output_dir={folder}", *overrides])


def test_nothing_happens_in_a_single_process():
    distributed.barrier()
    assert distributed.world_size() == 1 and distributed.is_main()
    assert torch.equal(distributed.mean(torch.ones(2)), torch.ones(2))
    assert distributed.gather(3) == [3] and distributed.broadcast("a") == "a" and distributed.sum_integers([2]) == [2]


def test_exchange_between_processes():
    found = run_in_processes(processes.helpers, 3)
    for rank, (size, sums, received, gathered, mean, copied) in enumerate(found):
        assert (size, sums, received) == (3, [3, 3], "from 0")
        assert gathered == ([{"of": 0}, {"of": 1}, {"of": 2}] if rank == 0 else [])
        assert torch.equal(mean, torch.tensor([0.0, 1.0, 2.0]))
        assert torch.equal(copied[0], torch.zeros(3, dtype=torch.int64)) and copied[1]


@pytest.mark.parametrize(("count", "settings"), [(2, {}), (2, {"accumulate": 2}), (3, {})])
def test_equal_counts_yield_the_gradients_of_one_process(tmp_path, count, settings):
    """The loss is the mean over as many images in each."""
    one = processes.weights_after(tmp_path / "one", 3, settings)
    many = run_in_processes(processes.weights_after, count, tmp_path / "many", 3, settings)
    for weights in many:
        assert all(torch.equal(value, many[0][name]) for name, value in weights.items())
    for name, value in one.items():
        if name != "odd":  # whose gradient is a share of one process's
            torch.testing.assert_close(many[0][name], value, rtol=1e-5, atol=1e-6)
    assert not torch.equal(many[0]["odd"], torch.ones(2)) and torch.equal(many[0]["unused"], torch.ones(2))


@pytest.mark.parametrize("count", [2, 3])
def test_gradients_of_a_mask_rcnn_are_the_mean_of_its_processes(tmp_path, count):
    cfg = config(tmp_path, "solver.clip_norm=null")
    expected = processes.gradients_of_step(cfg, count)
    found = run_in_processes(processes.gradients_of_step, count, cfg)
    for gradients in found:
        assert gradients.keys() == expected.keys()
        for name, value in gradients.items():
            assert torch.equal(value, found[0][name])
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("count", "batch"), [(2, 1), (3, 2), (3, 4)])
def test_evaluation_is_that_of_one_process_to_the_bit(tmp_path, count, batch):
    """With batches of 4, the third process has none of the 5 images."""
    one, many = (config(tmp_path / name, f"data.test_batch_size={batch}") for name in ("one", "many"))
    expected = processes.evaluate_real(one)
    assert len(expected) > 20 and expected["val/loss/total"] > 0
    assert run_in_processes(processes.evaluate_real, count, many) == [expected] * count
    files = [tmp_path / name / "inference" / "coco_instances_results.json" for name in ("one", "many")]
    assert files[0].read_bytes() == files[1].read_bytes() and len(json.loads(files[0].read_text())) > 5


@pytest.mark.parametrize("where", ["run", "evaluation"])
@pytest.mark.parametrize(
    ("evaluator", "missing", "what_to_write"),
    [
        (processes.FakeEvaluator, "results() and merge()", "results(self) and merge(self, shares)"),
        (processes.NeverMerging, "lacks merge()", "merge(self, shares)"),
    ],
)
def test_an_evaluator_that_several_processes_cannot_use(tmp_path, evaluator, missing, what_to_write, where):
    for message, key, steps in run_in_processes(processes.use_evaluator, 2, tmp_path, evaluator, where):
        assert message.startswith(f"{evaluator.__name__} cannot be used by several processes") and missing in message
        assert what_to_write in message and "segkit.evaluation.Evaluator" in message
        assert key == "evaluators" and steps == 0  # before any work is done


def test_one_process_writes_and_resuming_is_exact(tmp_path, caplog):
    whole = run_in_processes(processes.run_and_resume, 2, tmp_path / "whole", None)
    fifth = tmp_path / "whole" / "model_0000005.pth"
    parts = run_in_processes(processes.run_and_resume, 2, tmp_path / "parts", fifth)
    for weights, evaluation in [*whole, *parts]:
        assert evaluation == whole[0][1] and evaluation["segm/AP"] > 0
        assert all(torch.equal(value, whole[0][0][name]) for name, value in weights.items())
    assert [line["iteration"] for line in lines(tmp_path / "whole")] == [1, 3, 4, 6, 8]
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")[-2:]
    assert len(list((tmp_path / "whole").glob("events*"))) == 1
    weights, _ = processes.run_and_resume(tmp_path / "one", fifth)  # another number
    assert "the number of processes was 2 when the checkpoint was written and is 1 now" in caplog.text
    assert not torch.equal(weights["layers.0.weight"], whole[0][0]["layers.0.weight"])
    torch.testing.assert_close(weights["layers.0.weight"], whole[0][0]["layers.0.weight"], rtol=0, atol=0.2)


def test_the_ema_starts_from_the_first_process_s_weights(tmp_path):
    (average, evaluation), other = run_in_processes(processes.ema_after, 2, tmp_path, 2)
    assert other[1] == evaluation and other[0].keys() == average.keys()
    assert all(torch.equal(other[0][name], value) for name, value in average.items())
    saved = read_checkpoint(tmp_path / "model_final.pth")["model"]
    assert all(torch.equal(saved[name], value) for name, value in average.items())


def test_all_evaluate_with_the_first_ones_running_statistics(tmp_path):
    (mine, evaluated), (other, elsewhere) = run_in_processes(processes.statistics_evaluated, 2, tmp_path)
    assert not torch.equal(mine[0], other[0])
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(mine, evaluated, elsewhere, strict=True))


def test_a_step_that_is_not_finite_in_one_is_skipped_by_all(tmp_path):
    found = run_in_processes(processes.skip_one, 2, tmp_path)
    assert [skipped for skipped, _ in found] == [1, 1]
    assert all(torch.equal(value, found[0][1][name]) for name, value in found[1][1].items())
    files = ["nonfinite_batch_0000003.pth", "nonfinite_batch_0000003_process1.pth"]  # each process's images
    assert sorted(path.name for path in tmp_path.glob("nonfinite*")) == files


def test_synced_batch_norm_says_that_it_needs_cuda():
    assert all("SegkitError: norm: sync_bn over several" in text for text in run_in_processes(processes.synced, 2))


def test_the_randomness_of_a_process_is_its_own():
    draws = [torch.rand(3, generator=seed_step(7, 2, part, "cpu", rank)) for part in (0, 1) for rank in (0, 1, 2)]
    assert len({tuple(draw.tolist()) for draw in draws}) == 6
    assert torch.equal(draws[0], torch.rand(3, generator=seed_step(7, 2, 0, "cpu")))


def test_several_processes_without_a_launcher():
    message = r"WORLD_SIZE is 2, but RANK, .* are not set: .* torchrun or --num-gpus"
    with process_runner.environment(WORLD_SIZE="2"), pytest.raises(SegkitError, match=message):
        distributed.process_group(torch.device("cpu"), 60).__enter__()


def test_each_process_has_the_gpu_of_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    with process_runner.environment(WORLD_SIZE="4", LOCAL_RANK="1"):
        assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:1")
        assert choose_device("cpu") == torch.device("cpu")
    with (
        process_runner.environment(WORLD_SIZE="4", LOCAL_RANK="2"),
        pytest.raises(SegkitError, match=r"'cuda:2' .* sees 2 GPUs"),
    ):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), r"--num-gpus: expected 1 or more, got 0"),
        ((2, 2, 2, "a"), r"--machine-rank: expected 0 to 1"),
        ((2, 2), r"--master-address .HOST:PORT of machine 0.: expected with several"),
        ((2, 1, 0, "a"), r"--master-address"),
        ((2, 2, 0, "a:b"), r"expected HOST or HOST:PORT, got 'a:b'"),
    ],
)
def test_invalid_process_counts(arguments, message):
    with pytest.raises(SegkitError, match=message):
        torchrun_arguments(*arguments)


def command(folder, *arguments):
    return [str(TOOL), "--config-file", "segkit://quickstart.yaml", *arguments, *SMALL, f"output_dir={folder}"]


SHORT = ["train.iterations=2", "train.eval_period=0"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "--num-gpus"])
def test_a_run_from_the_command_line(tmp_path, launcher):
    if launcher == "torchrun":
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command(tmp_path)]
    else:
        start = command(tmp_path, "--num-gpus", "2")
    done = subprocess.run([sys.executable, *start, *SHORT], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "2 processes train together" in (tmp_path / "log.txt").read_text()
    state = read_checkpoint(tmp_path / "model_final.pth")
    assert (state["iteration"], state["processes"]) == (2, 2)
    assert done.stdout.count("saved ") == (tmp_path / "log.txt").read_text().count("saved ") > 0
    assert len(list((tmp_path / "inference").glob("*.png"))) == 5


@pytest.mark.slow
def test_two_launchers_are_two_machines(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    place = ["--num-machines", "2", "--master-address", address]
    starts = [command(tmp_path, *place, "--machine-rank", rank) + SHORT for rank in "01"]
    launchers = [subprocess.Popen([sys.executable, *start], stderr=subprocess.PIPE, text=True) for start in starts]
    errors = [launcher.communicate(timeout=200)[1] for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], errors
    state = read_checkpoint(tmp_path / "model_final.pth")
    assert (state["iteration"], state["processes"]) == (2, 2)


FAILING = """
import os, sys, time
import torch
from segkit.engine.launch import launch
from segkit.utils import distributed
from segkit.utils.cli import run_cli
from segkit.utils.errors import SegkitError

def main():
    if "RANK" not in os.environ:
        sys.exit(launch(sys.argv, num_gpus=2))
    with distributed.process_group(torch.device("cpu"), 60):
        if distributed.rank() == 1:
            raise SegkitError("a file is missing")
        distributed.barrier()

run_cli(main)
"""


@pytest.mark.slow
def test_the_message_of_the_one_that_fails_is_shown(tmp_path):
    (tmp_path / "script.py").write_text(FAILING)
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: process 1: a file is missing" in done.stderr
    assert "process 1 of 2 was the first to end: it ended with status 1" in done.stderr


@pytest.mark.slow
def test_ctrl_c_at_the_launcher_saves_the_run(tmp_path):
    """And the command that it prints goes on with it."""
    start = command(tmp_path, "--num-gpus", "2")
    settings = ["train.iterations=5000", "train.eval_period=0", "train.checkpoint_period=0", "train.log_period=1"]
    launcher = subprocess.Popen([sys.executable, *start, *settings], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 100
    metrics = tmp_path / "metrics.json"
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < until:
        time.sleep(0.2)
    launcher.send_signal(signal.SIGINT)
    errors = launcher.communicate(timeout=60)[1]
    assert launcher.returncode == 75 and "--resume goes on" in errors, errors
    reached = read_checkpoint(tmp_path / (tmp_path / "last_checkpoint").read_text().strip())["iteration"]
    assert reached >= 1
    _, _, command_line = (tmp_path / "log.txt").read_text().partition(f"to go on from iteration {reached}:\n")
    again = [*shlex.split(command_line.splitlines()[0]), f"train.iterations={reached + 1}"]
    assert "--num-gpus" in again and "--resume" in again
    subprocess.run(again, check=True, capture_output=True, timeout=200)
    assert read_checkpoint(tmp_path / "model_final.pth")["iteration"] == reached + 1
