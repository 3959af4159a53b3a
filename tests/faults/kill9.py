#!/usr/bin/env python
"""Kills a training with kill -9 at random moments, resumes it each time, and compares it with one that was left alone.

python tests/faults/kill9.py --kills 20
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "data.train={format: synthetic, num_images: 40, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 0}",
    "data.val={format: synthetic, num_images: 3, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 9}",
    "data.num_workers=1", "data.batch_size=2", "model.neck.out_channels=16", "train.eval_period=15",
    "train.checkpoint_period=3", "train.log_period=1", "train.device=cpu",
]  # fmt: skip
TIMES = {"data_time", "step_time", "eta_seconds", "memory_mb"}


def command(folder: Path, iterations: int) -> list[str]:
    """The quickstart's training, made small."""
    tool = [
        sys.executable,
        str(ROOT / "tools" / "train_net.py"),
        "--config-file",
        "segkit://quickstart.yaml",
        "--resume",
    ]
    return [*tool, *SMALL, f"train.iterations={iterations}", f"output_dir={folder}"]


def metrics(folder: Path) -> list[dict[str, float]]:
    """metrics.json without what differs from run to run."""
    lines = (folder / "metrics.json").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def run_and_kill(folder: Path, iterations: int, wait: float) -> int:
    """One attempt: killed ``wait`` seconds after it has written its first line; its exit status."""
    process = subprocess.Popen(command(folder, iterations), stdout=subprocess.DEVNULL, start_new_session=True)
    before = len(read(folder / "log.txt"))
    while process.poll() is None and b"iter " not in read(folder / "log.txt")[before:]:
        time.sleep(0.02)
    time.sleep(wait)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    return process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=150)
    parser.add_argument("--longest-wait", type=float, default=1.0, help="seconds from the first line to the kill")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        whole, killed = Path(temporary, "whole"), Path(temporary, "killed")
        subprocess.run(command(whole, options.iterations), stdout=subprocess.DEVNULL, check=True)
        kills = 0
        while kills < options.kills:
            status = run_and_kill(killed, options.iterations, draw.uniform(0, options.longest_wait))
            if status != -signal.SIGKILL:
                print(f"the run ended with {status} after {kills} kills")
                break
            kills += 1
            print(
                f"kill {kills}: at iteration {metrics(killed)[-1]['iteration'] if read(killed / 'metrics.json') else 0}"
            )
        subprocess.run(command(killed, options.iterations), stdout=subprocess.DEVNULL, check=True)
        first, second = (torch.load(f / "model_final.pth", weights_only=True) for f in (whole, killed))
        assert all(torch.equal(value, second["model"][name]) for name, value in first["model"].items()), (
            "weights differ"
        )
        state = (s["optimizer"]["state"] for s in (first, second))
        for ours, theirs in zip(*(list(s.values()) for s in state), strict=True):
            assert all(torch.equal(ours[key], theirs[key]) for key in ours), "the optimizers' states differ"
        assert metrics(whole) == metrics(killed), "metrics differ"
        left = sorted(path.name for path in killed.glob(".*.tmp*"))
        assert not left, left
        print(f"{kills} kills: weights, optimizer and {len(metrics(whole))} lines of metrics are equal bit for bit")


if __name__ == "__main__":
    main()
