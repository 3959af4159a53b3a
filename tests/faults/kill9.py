#!/usr/bin/env python
"""Kills a training with kill -9 all along its length, resumes it each time, and compares it with one left alone.

python tests/faults/kill9.py --kills 20

The run is the quickstart made small, with evaluations, periodic and best checkpoints, EMA weights, accumulation and
two loader processes. The kills fall evenly over its iterations: most of them at any moment, every fourth in an evaluation,
every fifth while a checkpoint is being written. Each attempt is a fork, which has torch imported already.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
import train_net  # noqa: E402

import segkit.engine.hooks.checkpoint  # noqa: E402
import segkit.engine.hooks.evaluation  # noqa: E402
import segkit.engine.trainer  # noqa: E402
from segkit.utils.cli import run_cli  # noqa: E402

SMALL = [
    "data.train={format: synthetic, num_images: 40, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 0}",
    "data.val={format: synthetic, num_images: 6, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 9}",
    "data.num_workers=2", "data.batch_size=2", "model.neck.out_channels=16", "train.device=cpu", "train.log_period=2",
    "train.eval_period=9", "train.checkpoint_period=5", "train.keep_checkpoints=3", "train.keep_every=40",
    "train.accumulate=2", "train.ema_decay=0.95", "train.early_stopping={patience: 1000}", "train.report=false",
]  # fmt: skip
TIMES = {"data_time", "step_time", "eta_seconds", "memory_mb"}
PHASES = ["between steps, or waiting for data", "in the gradients", "in the optimizer's step", "in an evaluation"]
FILES = ["", "a periodic checkpoint", "the best checkpoint"]


class Watch:
    """What a run is doing, in memory that outlives it: iteration, phase, and which file its other thread writes."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 16)

    def read(self) -> tuple[int, int, int]:
        return struct.unpack("<qBB", self.memory[:10])

    def clear(self) -> None:
        self.memory[:10] = bytes(10)

    def put(self, place: int, value: int) -> None:
        self.memory[place] = value

    def within(self, function: Callable[..., Any], place: int, value: int) -> Callable[..., Any]:
        """The function, with a byte of the memory set while it runs."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            before = self.memory[place]
            self.put(place, value)
            try:
                return function(*args, **kwargs)
            finally:
                self.put(place, before)

        return watched

    def install(self) -> None:
        """Lets everything that is trained from now on, in this process and its forks, say what it does."""
        engine = segkit.engine
        trainer, hooks = engine.trainer.Trainer, engine.hooks
        step = trainer.run_step

        def run_step(this: Any, batches: Any) -> None:
            self.memory[:8] = struct.pack("<q", this.iteration)
            step(this, batches)
            self.memory[:8] = struct.pack("<q", this.iteration)

        trainer.run_step = run_step
        trainer.compute_gradients = self.within(trainer.compute_gradients, 8, 1)
        trainer._update = self.within(trainer._update, 8, 2)
        hooks.evaluation.evaluate = self.within(hooks.evaluation.evaluate, 8, 3)
        save = hooks.checkpoint.save_checkpoint
        kinds = {best: self.within(save, 9, 1 + best) for best in (False, True)}
        hooks.checkpoint.save_checkpoint = lambda path, state: kinds[path.name == "model_best.pth"](path, state)


def start(folder: Path, iterations: int) -> int:
    """``tools/train_net.py --resume`` in a fork; its process id."""
    arguments = ["--config-file", "segkit://quickstart.yaml", "--resume", *SMALL]
    options = train_net.parse_arguments([*arguments, f"train.iterations={iterations}", f"output_dir={folder}"])
    pid = os.fork()
    if pid:
        return pid
    status: Any = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A killed run's loader processes complain.
        os.dup2(os.open(f"{folder}.stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
        run_cli(lambda: train_net.main(options))
    except SystemExit as ended:
        status = ended.code
    finally:
        os._exit(status)


def metrics(folder: Path) -> list[dict[str, float]]:
    """metrics.json without what differs from run to run."""
    lines = (folder / "metrics.json").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def run_and_kill(watch: Watch, folder: Path, iterations: int, kind: str, at: int, wait: float) -> tuple[int, str]:
    """One attempt: killed ``wait`` seconds after it has come to iteration ``at`` and does what it is to be killed in.

    Returns:
        its exit status, and where the kill fell.
    """
    watch.clear()
    pid = start(folder, iterations)
    status = None
    while status is None:
        done, code = os.waitpid(pid, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if done else None
        iteration, phase, file = watch.read()
        if iteration >= at and (
            kind == "any" or (kind == "evaluation" and phase == 3) or (kind == "checkpoint" and file)
        ):
            break
        time.sleep(0.0003)
    if status is None:
        time.sleep(wait)
        os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    iteration, phase, file = watch.read()
    where = f"iteration {iteration:3}, {PHASES[phase]}" + (f", {FILES[file]} being written" if file else "")
    left = len(list(folder.glob(".*.tmp*")))
    return status, where + (f" ({left} half-written file left)" if left else "")


def assert_equal(first: Any, second: Any, path: str) -> None:
    """Nested values, tensors bit for bit."""
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), f"{path} differs"
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key, value in first.items():
            assert_equal(value, second[key], f"{path}[{key!r}]")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), path
        for i, (one, other) in enumerate(zip(first, second, strict=True)):
            assert_equal(one, other, f"{path}[{i}]")
    else:
        assert first == second, f"{path}: {first!r} and {second!r}"


def compare(whole: Path, killed: Path) -> int:
    """AssertionError unless the two runs' files say the same; the number of lines in metrics.json."""
    for name in ("model_final.pth", "model_best.pth"):
        first, second = (torch.load(folder / name, weights_only=True) for folder in (whole, killed))
        for state in (first, second):
            del state["config"]["output_dir"]
            for key in TIMES:  # of what was measured and not yet written
                state["metrics"].pop(key, None)
        assert first["ema"] and first["optimizer"]["state"] and first["hooks"]
        for key in first.keys() - {"metrics"}:
            assert_equal(first[key], second[key], f"{name}: {key}")
    assert metrics(whole) == metrics(killed), "metrics differ"
    assert [p.name for p in sorted(whole.glob("*.pth"))] == [p.name for p in sorted(killed.glob("*.pth"))]
    left = sorted(path.name for path in killed.glob(".*.tmp*"))
    assert not left, left
    return len(metrics(whole))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)  # a fork has no thread pool
    draw, watch, began = random.Random(options.seed), Watch(), time.monotonic()
    watch.install()
    with tempfile.TemporaryDirectory() as temporary:
        whole, killed = Path(temporary, "whole"), Path(temporary, "killed")
        assert os.waitpid(start(whole, options.iterations), 0)[1] == 0
        print(f"the run left alone took {time.monotonic() - began:.0f} s", flush=True)
        for kill in range(options.kills):
            kind = "evaluation" if kill % 4 == 3 else "checkpoint" if kill % 5 == 2 else "any"
            # The last stretch stays free: there is still an evaluation and a checkpoint after each of these.
            at = int((kill + draw.random()) * (options.iterations - 12) / options.kills)
            wait = draw.uniform(0, {"any": 0.15, "evaluation": 0.05, "checkpoint": 0.004}[kind])
            status, where = run_and_kill(watch, killed, options.iterations, kind, at, wait)
            assert status == -signal.SIGKILL, (
                f"the run ended with {status}: {Path(f'{killed}.stderr').read_text()[-2000:]}"
            )
            print(f"kill {kill + 1:2}: {where}", flush=True)
        assert os.waitpid(start(killed, options.iterations), 0)[1] == 0
        lines = compare(whole, killed)
    print(
        f"{options.kills} kills in {time.monotonic() - began:.0f} s: final and best checkpoint (weights, average, optimizer, "
        f"hooks, generators) and {lines} lines of metrics are equal bit for bit"
    )


if __name__ == "__main__":
    main()
