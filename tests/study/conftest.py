"""Studies whose runs are stand-ins of ``fake_run.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from segkit.study import sources

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))

FAKE = Path(__file__).with_name("fake_run.py")
BASE = """
_BASE_: segkit://quickstart.yaml
data:
  train: {format: synthetic, num_images: 8, image_size: [64, 64], min_objects: 1, max_objects: 3, seed: 0}
  val: {format: synthetic, num_images: 3, image_size: [64, 64], min_objects: 1, max_objects: 3, seed: 9}
  num_workers: 0
  batch_size: 2
train: {device: cpu, log_period: 2, eval_period: 3, checkpoint_period: 2, report: false}
"""
STUDY = """
base: base.yaml
output: out
seeds: [0, 1]
metric: segm/AP
budget: {iterations: 6}
runs:
  narrow: {overrides: {model.neck.out_channels: 16}}
  wide: {overrides: {model.neck.out_channels: 24}}
  strict: {from: wide, overrides: {model.roi_heads.score_threshold: 0.5}}
tables:
  widths:
    title: Width
    rows:
      - {run: narrow, label: Narrow, published: 0.33}
      - {run: wide, label: Wide}
  thresholds:
    baseline: wide
    rows: [strict, wide]
"""


@pytest.fixture
def study_file(tmp_path, monkeypatch):
    """Writes a study file and its base into a folder, which becomes the working directory; returns its path."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)

    def write(text: str = STUDY, **replaced: str) -> str:
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        Path("study.yaml").write_text(text)
        return "study.yaml"

    return write


@pytest.fixture
def fake_runs(monkeypatch):
    """Lets studies start ``fake_run.py`` in place of trainings and evaluations."""
    monkeypatch.setattr(sources, "TRAIN", (str(FAKE),))
    monkeypatch.setattr(sources, "EVALUATE", (str(FAKE),))
