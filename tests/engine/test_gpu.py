"""The trainer on a GPU. What is the same on a CPU is tested there."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import processes
import pytest
import torch
import torch.distributed as dist
from fakes import FakeBatch, FakeLoader, FakeModel, lines, make_trainer
from process_runner import run_in_processes

from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.hooks import Hook
from segkit.registry import HOOK_REGISTRY
from segkit.utils import distributed

pytestmark = pytest.mark.gpu
TOOL = Path(__file__).parents[2] / "tools" / "train_net.py"
SMALL = [
    "data.train={format: synthetic, num_images: 12, image_size: [64, 96], min_objects: 2, max_objects: 4, seed: 0}",
    "data.val={format: synthetic, num_images: 3, image_size: [64, 96], min_objects: 2, max_objects: 4, seed: 9}",
    "data.num_workers=1", "data.batch_size=2", "model.neck.out_channels=16", "train.device=cuda", "train.log_period=1",
    "train.iterations=8", "train.eval_period=4", "train.checkpoint_period=3", "train.keep_checkpoints=9",
    "train.deterministic=true", "train.accumulate=2", "train.ema_decay=0.9", "solver.clip_norm=1.0",
]  # fmt: skip


class PinnedBatch(FakeBatch):
    def to(self, device, non_blocking=False):
        return PinnedBatch(*(part.to(device, non_blocking=non_blocking) for part in (self.images, self.targets)))


class PinnedLoader(FakeLoader):
    def __iter__(self):
        for batch in super().__iter__():
            yield PinnedBatch(batch.images.pin_memory(), batch.targets.pin_memory())


class RefuseWaits(Hook):
    """Lets torch raise where the host waits for the GPU, but in the steps whose metrics are written."""

    def __init__(self, period):
        self.period = period

    def before_step(self, trainer):
        step = trainer.iteration + 1
        writes = step == 1 or step % self.period == 0
        torch.cuda.set_sync_debug_mode("default" if writes else "error")


@pytest.fixture(autouse=True)
def _may_wait_again():
    yield
    torch.cuda.set_sync_debug_mode("default")


EVERYTHING = {"accumulate": 2, "ema_decay": 0.9, "clip_norm": 0.1, "clip_value": 0.1}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["default", "everything"])
def test_no_step_waits_for_the_gpu(tmp_path, precision, settings):
    model = FakeModel().cuda()
    settings = {"val_loader": None, "log_period": 4, "check_period": 4, "checkpoint_period": 100, **settings}
    trainer = make_trainer(tmp_path, model=model, device="cuda", precision=precision, **settings)
    trainer.optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)  # as build_optimizer's
    trainer.loader = PinnedLoader()
    trainer.hooks.insert(0, RefuseWaits(period=4))
    trainer.train()
    assert trainer.iteration == 12


def test_a_wait_would_be_seen(tmp_path):
    class Waiting(FakeModel):
        def losses(self, images, targets, generator):
            images.sum().item()
            return super().losses(images, targets, generator)

    trainer = make_trainer(tmp_path, model=Waiting().cuda(), device="cuda", val_loader=None, log_period=4)
    trainer.loader = PinnedLoader()
    trainer.hooks.insert(0, RefuseWaits(period=4))
    with pytest.raises(RuntimeError, match="synchronizing"):
        trainer.train()


def train(folder, *arguments):
    command = [sys.executable, TOOL, "--config-file", "segkit://quickstart.yaml", *arguments, *SMALL]
    done = subprocess.run(
        [*command, f"output_dir={folder}"], capture_output=True, text=True, cwd=folder.parent, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_deterministic_run_that_was_stopped_ends_as_the_whole_one(tmp_path, precision):
    whole, stopped, again = tmp_path / "whole", tmp_path / "stopped", tmp_path / "again"
    train(whole, f"train.precision={precision}")
    shutil.copytree(whole, stopped)
    for name in ("model_final.pth", "model_best.pth", "model_0000006.pth"):
        (stopped / name).unlink()
    (stopped / "last_checkpoint").write_text("model_0000003.pth")
    train(stopped, "--resume", f"train.precision={precision}")
    train(again, f"train.precision={precision}")
    want = read_checkpoint(whole / "model_final.pth")
    for folder in (stopped, again):
        assert lines(folder) == lines(whole)
        state = read_checkpoint(folder / "model_final.pth")
        for name, value in want["model"].items():  # the averages
            assert torch.equal(state["model"][name], value), name
        torch.testing.assert_close(state["optimizer"]["state"], want["optimizer"]["state"], rtol=0, atol=0)
        assert state["scaler"] == want["scaler"]


def test_the_profile_has_kernels(tmp_path):
    profiler = HOOK_REGISTRY.build(
        {"name": "Profiler", "wait": 1, "warmup": 1, "active": 2}, path="hooks[0]", period=20
    )
    trainer = make_trainer(tmp_path, model=FakeModel().cuda(), device="cuda", extra=[profiler], val_loader=None)
    trainer.train()
    with gzip.open(tmp_path / "profile" / "trace_0000004.json.gz", "rt") as file:
        assert "kernel" in {event.get("cat") for event in json.load(file)["traceEvents"]}
    assert "CUDA" in (tmp_path / "profile" / "table_0000004.txt").read_text()


def test_the_doctor_sees_the_gpu():
    done = subprocess.run([sys.executable, "-m", "segkit.doctor"], capture_output=True, text=True, check=False)
    assert torch.cuda.get_device_name(0) in done.stdout


def test_two_processes_that_share_a_gpu_train_as_one(tmp_path):
    settings = {"accumulate": 2, "ema_decay": 0.9}
    (alone,) = run_in_processes(processes.weights_on_gpu, 1, tmp_path / "1", 5, settings, timeout=180)
    both = run_in_processes(processes.weights_on_gpu, 2, tmp_path / "2", 5, settings, timeout=180)
    for name, value in alone.items():
        assert torch.equal(both[0][name], both[1][name]), name
        torch.testing.assert_close(both[0][name], value)


def test_synced_batch_norm_sees_the_batch_of_all_processes():
    shares = run_in_processes(processes.synced_on_gpu, 2, timeout=180)
    x = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    norm = torch.nn.BatchNorm2d(6)
    x.requires_grad_()
    expected = norm(x)
    expected.pow(3).sum().backward()
    for i, (found, gradient, mean) in enumerate(shares):
        torch.testing.assert_close(found, expected.detach()[2 * i : 2 * i + 2])
        torch.testing.assert_close(gradient, x.grad[2 * i : 2 * i + 2])
        torch.testing.assert_close(mean, norm.running_mean)


def test_the_processes_of_gpus_are_connected_by_nccl_and_their_hosts_by_gloo(monkeypatch):
    monkeypatch.setattr(distributed, "launched", lambda: True)
    place = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}
    for name, value in place.items():
        monkeypatch.setenv(name, str(value))
    with distributed.process_group(torch.device("cuda:0"), 60):
        assert dist.get_backend() == "nccl"
        number = torch.ones(1, device="cuda:0")
        dist.all_reduce(number)
        assert number.item() == 1
        dist.all_reduce(torch.ones(1), group=distributed._hosts)
    assert not dist.is_initialized()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_processes_on_two_gpus_train_as_one(tmp_path):
    (alone,) = run_in_processes(processes.weights_on_gpu, 1, tmp_path / "1", 5, {}, timeout=180)
    both = run_in_processes(processes.weights_on_own_gpus, 2, tmp_path / "2", 5, {}, timeout=180)
    for name, value in alone.items():
        assert torch.equal(both[0][name], both[1][name]), name
        torch.testing.assert_close(both[0][name], value)
