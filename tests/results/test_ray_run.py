"""Prediction on Ray."""

from __future__ import annotations

import functools
import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from segkit.inference.shards import Shard
from segkit.results import CocoResultWriter
from segkit.results.prediction_run import PredictionRun
from segkit.results.ray_run import ShardPredictor, predict_with_ray
from segkit.utils.errors import MissingPackage
from tests.results.test_prediction_run import CLASSES, IDS, content, fake_predictor


class FakeJob:
    """As segkit.cli.predict_job.PredictJob, with a function for a model."""

    def __init__(self, output, inputs):
        self.output, self.inputs, self.predictor = output, inputs, fake_predictor
        self.options = SimpleNamespace(skip_unreadable=False, readers=1)

    def run_of(self, shard: Shard) -> PredictionRun:
        self.output.mkdir(exist_ok=True)
        return PredictionRun(
            self.output,
            self.inputs,
            lambda parts: [CocoResultWriter(self.output, CLASSES, IDS, parts)],
            {},
            shard=shard,
        )


@pytest.fixture
def inputs(tmp_path):
    for i in range(5):
        Image.fromarray(np.full((20, 30, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
    return {path.name: path for path in sorted(tmp_path.glob("*.png"))}


def test_an_actor_predicts_shards(inputs, tmp_path):
    """What Ray Data calls in an actor, without Ray; an error is a message, and other shards go on."""
    FakeJob(tmp_path / "whole", inputs).run_of(Shard(1, 1)).run(fake_predictor)
    inputs["4.png"].write_bytes(inputs["4.png"].read_bytes()[:40])
    actor = ShardPredictor(functools.partial(FakeJob, tmp_path / "out", inputs), 2)
    answers = [actor({"shard": np.array([k])})["message"] for k in (2, 1)]
    assert "4.png" in answers[0][0] and answers[1] == [""]
    Image.fromarray(np.full((20, 30, 3), 4, np.uint8)).save(inputs["4.png"])
    assert actor({"shard": np.array([2])})["message"] == [""]
    assert FakeJob(tmp_path / "out", inputs).run_of(Shard(1, 2)).finish() is not None
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray(inputs, tmp_path):
    job = FakeJob(tmp_path / "out", inputs)
    with pytest.raises(MissingPackage, match=r"--ray needs ray: pip install 'segkit\[ray\]'"):
        predict_with_ray(lambda: job, job)


@pytest.mark.slow
def test_a_local_ray(inputs, tmp_path):
    pytest.importorskip("ray.data")
    FakeJob(tmp_path / "whole", inputs).run_of(Shard(1, 1)).run(fake_predictor)
    make_job = functools.partial(FakeJob, tmp_path / "out", inputs)
    summary = predict_with_ray(make_job, make_job(), workers=2)
    assert summary.images == 5 and json.loads((tmp_path / "out" / "predictions.json").read_text())["annotations"]
    assert content(tmp_path / "out") == content(tmp_path / "whole")
