"""The quickstart's own run come to harm, with a real disk and real loader processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fakes import lines
from forks import end, start

from segkit.config import load_config
from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint
from segkit.engine.run import train
from segkit.engine.trainer import Trainer
from segkit.utils.errors import SegkitError

SMALL = [
    "data.train={format: synthetic, num_images: 12, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 0}",
    "data.val={format: synthetic, num_images: 2, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 9}",
    "data.num_workers=1", "data.batch_size=2", "model.neck.out_channels=16", "train.device=cpu", "train.log_period=1",
    "train.iterations=6", "train.eval_period=4", "train.checkpoint_period=2", "predict.score_threshold=0.9",
]  # fmt: skip


def config(folder):
    return load_config("segkit://quickstart.yaml", [*SMALL, f"output_dir={folder}"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(config(folder))
    return lines(folder), read_checkpoint(folder / "model_final.pth")["model"]


def assert_same(folder, whole):
    assert lines(folder) == whole[0]
    for name, value in read_checkpoint(folder / "model_final.pth")["model"].items():
        assert torch.equal(value, whole[1][name]), name


@pytest.fixture
def before_step(monkeypatch):
    """Lets something happen before the step that follows an iteration."""

    def let(iteration, happen):
        step = Trainer.run_step

        def run_step(self, batches):
            if self.iteration == iteration:
                monkeypatch.setattr(Trainer, "run_step", step)
                happen()
            step(self, batches)

        monkeypatch.setattr(Trainer, "run_step", run_step)

    return let


def test_a_loader_process_is_killed(tmp_path, whole, before_step):
    def kill():
        (worker,) = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGKILL)

    before_step(3, kill)
    with pytest.raises(RuntimeError, match=r"DataLoader worker .*(killed|exited)"):
        train(config(tmp_path))
    assert read_checkpoint(find_last_checkpoint(tmp_path))["iteration"] >= 3, "nothing is lost"
    train(config(tmp_path), resume=True)
    assert_same(tmp_path, whole)


@pytest.fixture
def disk(tmp_path):
    """A separate file system of 100 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_full(disk, whole, before_step):
    def fill():
        with pytest.raises(OSError, match="No space left"), open(disk / "ballast", "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))

    before_step(3, fill)
    message = r"written: No space left on device; the last good checkpoint is .*model_0000002\.pth"
    with pytest.raises(SegkitError, match=message):
        train(config(disk / "run"))
    assert not list((disk / "run").glob(".*tmp*"))
    (disk / "ballast").unlink()
    train(config(disk / "run"), resume=True)
    assert_same(disk / "run", whole)


@pytest.mark.slow
def test_kills_spread_over_a_run():
    script = Path(__file__).with_name("kill9.py")
    done = subprocess.run(
        [sys.executable, script, "--kills", "5", "--iterations", "50"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "equal bit for bit" in done.stdout, done.stdout + done.stderr
    assert "in an evaluation" in done.stdout and "being written" in done.stdout and "in the gradients" in done.stdout


@pytest.mark.slow
def test_two_machines_one_of_which_loses_a_process():
    script = Path(__file__).with_name("two_machines.py")
    done = subprocess.run([sys.executable, script, "--loopback"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "resumed, it went on" in done.stdout, done.stdout + done.stderr


def test_a_second_run_on_the_folder(tmp_path, whole, before_step, capfd):
    statuses = []
    before_step(3, lambda: statuses.append(end(start(lambda: train(config(tmp_path), resume=True)))))
    train(config(tmp_path))
    assert statuses == [1]
    assert f"is in use by another run (process {os.getpid()} on" in capfd.readouterr().err
    assert_same(tmp_path, whole)
