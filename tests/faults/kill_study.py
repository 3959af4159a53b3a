#!/usr/bin/env python
"""Kills a study of real trainings ten times at random, continues it, and compares its tables with one never killed.

python tests/faults/kill_study.py --kills 10

Three variants (two trainings and an evaluation of one of them) with two seeds each, on synthetic images. Every second kill
takes the study alone, whose trainings go on; the others take its trainings with it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE = """
_BASE_: segkit://quickstart.yaml
data:
  train: {format: synthetic, num_images: 40, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 0}
  val: {format: synthetic, num_images: 6, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 9}
  num_workers: 0
  batch_size: 2
model: {neck: {out_channels: 16}}
train: {device: cpu, log_period: 2, eval_period: 40, checkpoint_period: 10, report: false}
"""
STUDY = """
base: base.yaml
output: whole
seeds: [0, 1]
metric: val/loss/total
budget: {iterations: 100}
runs:
  slow: {overrides: {solver.optimizer.lr: 1e-3}}
  fast: {overrides: {solver.optimizer.lr: 4e-3}}
  strict: {from: fast, overrides: {model.roi_heads.score_threshold: 0.2}}
"""
TABLES = ("study.md", "study.csv", "study.tex")


def start(folder: Path, output: str) -> subprocess.Popen[bytes]:
    """``segkit study`` in a process of its own."""
    words = [sys.executable, "-m", "segkit", "study", "study.yaml", "--output", output, "--jobs", "2"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    log = open(folder / f"{output}.txt", "ab")  # noqa: SIM115  # the process has it
    return subprocess.Popen(words, cwd=folder, env=env, stdout=log, stderr=log)


def runs_of(folder: Path) -> list[int]:
    """The process ids of the trainings and evaluations in a study's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"study_run.yaml" in command and f"{folder}/".encode() in command:
            found.append(int(process.name))
    return found


def finished(folder: Path) -> dict[str, float]:
    """The finished runs, and when their metrics were last written."""
    marked = folder.glob("*/*/finished.json")
    return {path.parent.as_posix(): (path.parent / "metrics.json").stat().st_mtime for path in marked}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / "base.yaml").write_text(BASE)
        (folder / "study.yaml").write_text(STUDY)
        began = time.monotonic()
        assert start(folder, "whole").wait() == 0, (folder / "whole.txt").read_text()
        seconds = time.monotonic() - began
        print(f"a study never killed: {seconds:.0f} s")
        kills, repeated, status = 0, 0, None
        while status != 0:
            before = finished(folder / "killed")
            study = start(folder, "killed")
            # Each start takes some seconds until anything trains.
            wait = seconds * draw.uniform(0.08, 0.3) if kills < options.kills else None
            try:
                status = study.wait(wait)
            except subprocess.TimeoutExpired:
                kills += 1
                study.send_signal(signal.SIGKILL)
                status = study.wait()
                victims = runs_of(folder / "killed")
                alone = kills % 2 == 0
                for pid in [] if alone else victims:
                    os.kill(pid, signal.SIGKILL)
                done = len(finished(folder / "killed"))
                what = "the study alone" if alone else "with its runs"
                print(f"kill {kills:2}: {what}, {len(victims)} running, {done} of 6 done", flush=True)
            assert status in (0, -signal.SIGKILL), (folder / "killed.txt").read_text()
            after = finished(folder / "killed")
            repeated += sum(after[run] != at for run, at in before.items())
        same = [(folder / "whole" / file).read_bytes() == (folder / "killed" / file).read_bytes() for file in TABLES]
        print(
            f"{kills} kills, {repeated} finished runs repeated, tables the same: {dict(zip(TABLES, same, strict=True))}"
        )
        print((folder / "killed" / "study.md").read_text())
        sys.exit(0 if all(same) and not repeated and kills == options.kills else 1)


if __name__ == "__main__":
    main()
