"""Validation losses: means over images, from the forward pass of the detections."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import segkit
from segkit.evaluation import Evaluator, evaluate, metrics_table
from segkit.modeling.backbones import TinyNet
from segkit.modeling.modes import evaluation_mode
from segkit.structures import Batch, InstanceMasks, Sample, Targets
from segkit.utils.errors import SegkitError
from segkit.utils.seeding import evaluation_generator


class Count(Evaluator):
    def reset(self):
        self.images = 0

    def process(self, batch, detections):
        self.images += len(detections)

    def evaluate(self):
        return {"segm/images": float(self.images)}


def make_model():
    torch.manual_seed(0)
    return segkit.mask_rcnn(
        TinyNet(width=8),
        num_classes=2,
        fpn_channels=16,
        anchor_sizes=((8,), (16,), (32,), (64,), (128,)),
        mask_conv_dims=(16,),
        fc_dims=(32,),
    )


def make_sample(number, known=True):
    """Number 1 has no objects."""
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(number))
    dense = torch.zeros(0 if number == 1 else 2, 64, 64, dtype=torch.bool)
    for i, mask in enumerate(dense):
        mask[5 * number + 20 * i : 5 * number + 20 * i + 15, 10:40] = True
    masks = InstanceMasks.from_dense(dense)
    targets = Targets(masks.boxes(), torch.arange(len(masks)), masks)
    return Sample(image, targets, number, f"{number}.png", (128, 128), [] if known else None)


BATCHES = [Batch([make_sample(0), make_sample(1)]), Batch([make_sample(2)])]


def test_means_over_images_of_one_pass():
    model = make_model().train()
    calls = []
    model.backbone.register_forward_hook(lambda *args: calls.append(1))
    metrics = evaluate(model, BATCHES, [Count()], "cpu")
    assert len(calls) == len(BATCHES) and model.training
    assert metrics["segm/images"] == 3
    expected = {}
    with evaluation_mode(model), torch.no_grad():
        for batch in BATCHES:
            for name, value in model.losses(batch.images, batch.targets, evaluation_generator()).items():
                expected[name] = expected.get(name, 0.0) + value.item() * len(batch) / 3
    assert {name: metrics[f"val/loss/{name}"] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert metrics["val/loss/total"] == pytest.approx(sum(expected.values()), rel=1e-6)
    assert expected.keys() == {"rpn_cls", "rpn_box", "cls", "box", "mask"}


def test_nothing_is_touched_and_it_repeats():
    model = make_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    first = evaluate(model, BATCHES, [Count()], "cpu")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    torch.manual_seed(9)
    assert evaluate(model, BATCHES, [Count()], "cpu") == first


def test_absent_if_not_asked_for_or_without_ground_truth():
    model = make_model()
    assert evaluate(model, BATCHES, [Count()], "cpu", losses=False).keys() == {"segm/images"}
    unknown = [Batch([make_sample(0, known=False)])]
    assert evaluate(model, unknown, [Count()], "cpu").keys() == {"segm/images"}


def test_models_that_only_predict():
    class Plain(nn.Module):
        def predict(self, images, output_sizes):
            return [None for _ in images]

    assert evaluate(Plain(), BATCHES, [Count()], "cpu") == {"segm/images": 3.0}


def test_images_are_named_if_the_network_outputs_nan():
    model = make_model()
    torch.nn.init.constant_(model.neck.get_parameter(next(iter(dict(model.neck.named_parameters())))), float("nan"))
    with pytest.raises(SegkitError, match=r"^0\.png, 1\.png: .*neck\."):
        evaluate(model, BATCHES, [Count()], "cpu")


def test_in_bf16():
    metrics = evaluate(make_model(), BATCHES, [Count()], "cpu", torch.autocast("cpu", dtype=torch.bfloat16))
    exact = evaluate(make_model(), BATCHES, [Count()], "cpu")
    assert metrics["val/loss/total"] == pytest.approx(exact["val/loss/total"], rel=0.05)


def test_a_line_of_their_own_in_the_table():
    table = metrics_table({"val/loss/total": 1.5, "val/loss/mask": 0.5, "val/loss/cls": 1.0, "segm/AP": 0.25})
    assert table.splitlines()[0] == "validation loss 1.5000 (mask 0.5000 cls 1.0000)"
    assert "25.00" in table and "val" not in table.split("\n", 1)[1]
    assert metrics_table({"val/loss/total": 1.0}).endswith("no metrics")
