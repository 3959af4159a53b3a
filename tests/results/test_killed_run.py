"""Predictions that are killed at random moments continue to the bytes of one that was not."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

import killed_run
import numpy as np
import pytest
from PIL import Image

from segkit.results.prediction_run import INFO, PARTS

IMAGES, KILLS = 24, 8


def content(output: Path) -> dict[str, bytes]:
    files = [path for path in output.rglob("*") if path.is_file() and path.name not in (f"{PARTS}.lock", INFO)]
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_killed_again_and_again(tmp_path):
    inputs = {f"{i:02}.png": tmp_path / f"{i:02}.png" for i in range(IMAGES)}
    for i, path in enumerate(inputs.values()):
        Image.fromarray(np.full((20, 30, 3), i % 9, np.uint8)).save(path)
    killed_run.predict(tmp_path / "whole", inputs)
    state = tmp_path / "out" / PARTS / "1_of_1" / "state.jsonl"
    generator, killed = random.Random(5), 0
    for _ in range(KILLS):
        process = multiprocessing.get_context("spawn").Process(
            target=killed_run.predict, args=(tmp_path / "out", inputs)
        )
        before = state.stat().st_mtime_ns if state.exists() else 0
        process.start()
        while process.is_alive() and (not state.exists() or state.stat().st_mtime_ns == before):
            process.join(0.005)  # until it has begun
        process.join(generator.uniform(0, 0.08))
        if process.is_alive():
            process.kill()
            killed += 1
        process.join()
    assert killed >= 2
    killed_run.predict(tmp_path / "out", inputs)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
