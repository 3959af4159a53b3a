"""The loop: every batch once, modes restored, no gradients, precision as asked."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segkit.evaluation import Evaluator, evaluate
from segkit.structures.sample import Batch

from .helpers import detections, sample


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen = nn.BatchNorm2d(3).eval()
        self.layer = nn.Linear(2, 2)
        self.seen = []

    def predict(self, images, output_sizes):
        self.seen.append((self.training, torch.is_grad_enabled(), self.layer(torch.ones(1, 2)).dtype))
        return [detections([], [], [], size) for size in output_sizes]


class Recorder(Evaluator):
    def __init__(self, prefix):
        self.prefix = prefix

    def reset(self):
        self.ids, self.sizes = [], []

    def process(self, batch, detections):
        self.ids += batch.image_ids
        self.sizes += [d.size for d in detections]

    def evaluate(self):
        return {f"{self.prefix}/count": float(len(self.ids))}


LOADER = [Batch([sample(1, (20, 30)), sample(2, (5, 6))]), Batch([sample(3, (7, 8))])]


def test_every_image_once_in_file_size():
    model, evaluators = Model().train(), [Recorder("a"), Recorder("b")]
    model.frozen.eval()
    for _ in range(2):  # reset forgets the first
        metrics = evaluate(model, LOADER, evaluators, "cpu")
    assert metrics == {"a/count": 3.0, "b/count": 3.0}
    assert evaluators[0].ids == [1, 2, 3] and evaluators[0].sizes == [(20, 30), (5, 6), (7, 8)]
    assert model.seen == [(False, False, torch.float32)] * 4
    assert model.training and model.layer.training and not model.frozen.training


def test_precision_context():
    model = Model()
    evaluate(model, LOADER, [Recorder("a")], "cpu", torch.autocast("cpu", dtype=torch.bfloat16))
    assert {dtype for *_, dtype in model.seen} == {torch.bfloat16}
    assert not torch.is_autocast_enabled("cpu")


def test_modes_are_restored_after_an_error():
    model = Model().train()

    def broken():
        yield LOADER[0]
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        evaluate(model, broken(), [Recorder("a")], "cpu")
    assert model.training and torch.is_grad_enabled()


def test_no_images():
    assert evaluate(Model(), [], [Recorder("a")], "cpu") == {"a/count": 0.0}
