"""Losses depend on weights, images, targets and generator, and on the mode only through batch norms and dropout."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import segkit
from segkit.modeling.backbones import ConvNeXt, TinyNet
from segkit.modeling.modes import evaluation_mode
from segkit.structures import InstanceMasks, Targets

BACKBONES = {
    "no layer with two modes": lambda: TinyNet(width=8, norm="gn"),
    "batch norms": lambda: TinyNet(width=8),
    "drop path": lambda: ConvNeXt(arch="atto", drop_path=0.9, layer_scale=1.0),
}


def make_model(backbone):
    torch.manual_seed(0)
    return segkit.mask_rcnn(
        BACKBONES[backbone](),
        num_classes=2,
        fpn_channels=16,
        anchor_sizes=((8,), (16,), (32,), (64,), (128,)),
        mask_conv_dims=(16,),
        fc_dims=(32,),
        score_threshold=0.0,
    )


def make_batch(height=64, width=96):
    images = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    dense = torch.zeros(2, height, width, dtype=torch.bool)
    dense[0, 5:30, 10:40] = True
    dense[1, 40:60, 50:90] = True
    masks = InstanceMasks.from_dense(dense)
    return list(images), [Targets(masks.boxes(), torch.tensor([0, 1]), masks), Targets.empty((height, width))]


def losses_of(model, seed: int | None = 5):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return model.losses(*make_batch(), generator)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def global_state():
    _, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), keys.tolist(), rest, random.getstate()


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_without_layers_of_two_modes_the_mode_changes_nothing():
    model = make_model("no layer with two modes")
    assert equal(losses_of(model.train()), losses_of(model.eval()))
    found = []
    for mode in (True, False):
        torch.manual_seed(3)
        found.append(losses_of(model.train(mode), None))
    assert equal(*found)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("training", [True, False])
def test_a_function_of_the_generator_alone(backbone, training):
    """Training-mode losses do not use the running statistics, so that they repeat too."""
    model = make_model(backbone).train(training)
    before = global_state()
    first = losses_of(model)
    assert global_state() == before
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    assert equal(losses_of(model), first)
    assert not equal(losses_of(model, 6), first)  # other samples


def test_dropout_follows_the_generator():
    """Also where one generator serves several steps: each has its own draws."""
    model = make_model("drop path").train()
    seen = []
    model.backbone.register_forward_hook(lambda module, args, output: seen.append(output["stage4"]))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(2):
            model.losses(*make_batch(), generator)
        model.losses(*make_batch(), torch.Generator().manual_seed(0))
    assert torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], seen[1])


def test_without_a_generator_dropout_is_global_as_anywhere():
    model = make_model("drop path").train()
    torch.manual_seed(1)
    first, second = losses_of(model, None), losses_of(model, None)
    torch.manual_seed(1)
    assert equal(losses_of(model, None), first) and not equal(first, second)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_validation_losses_amid_training(backbone):
    """Evaluation mode for a block: its arithmetic, no state touched, each module's own mode back."""
    model = make_model(backbone).train()
    model.neck.eval()  # as something frozen would be
    losses_of(model)  # the statistics are no longer those of a new layer
    expected, modes = state_of(model), [module.training for module in model.modules()]
    with evaluation_mode(model):
        amid = losses_of(model)
    assert [module.training for module in model.modules()] == modes
    assert equal(state_of(model), expected)
    assert equal(amid, losses_of(model.eval()))


def test_batch_norms_update_statistics_in_training_mode():
    model = make_model("batch norms").train()
    before = state_of(model)
    in_training = losses_of(model)
    assert not equal(state_of(model), before)
    assert not equal(in_training, losses_of(model.eval()))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_detections_and_losses_of_one_pass(backbone):
    model = make_model(backbone).eval()
    images, targets = make_batch()
    sizes = [(128, 192), (30, 40)]
    calls = []
    for part in (model.backbone, model.neck, model.proposal_generator):
        part.register_forward_hook(lambda module, args, output: calls.append(type(module).__name__))
    found, losses = model.predict_with_losses(images, targets, torch.Generator().manual_seed(5), sizes)
    assert calls == [type(part).__name__ for part in (model.backbone, model.neck, model.proposal_generator)]
    assert equal(losses, losses_of(model)) and not any(loss.requires_grad for loss in losses.values())
    for ours, alone in zip(found, model.predict(images, sizes), strict=True):
        assert ours.size == alone.size and torch.equal(ours.boxes, alone.boxes)
        assert torch.equal(ours.scores, alone.scores) and torch.equal(ours.mask_probs, alone.mask_probs)


@pytest.mark.gpu
def test_dropout_follows_the_generator_on_cuda():
    model = make_model("drop path").cuda().train()
    images, targets = make_batch()
    results = []
    for seed in (1, 1, 2):
        torch.cuda.manual_seed(seed + 10)
        before = torch.cuda.get_rng_state()
        with torch.no_grad():
            results.append(model.losses(images, targets, torch.Generator("cuda").manual_seed(seed)))
        assert torch.equal(torch.cuda.get_rng_state(), before)
    assert all(torch.isclose(results[0][name], results[1][name]) for name in results[0])
    assert not all(torch.isclose(results[0][name], results[2][name]) for name in results[0])


def test_dropout_in_a_part_of_ones_own():
    """Not only stochastic depth."""
    model = make_model("no layer with two modes").train()
    model.neck = nn.Sequential(model.neck, DropMaps())
    assert equal(losses_of(model), losses_of(model))
    assert not equal(losses_of(model), losses_of(model.eval()))


class DropMaps(nn.Module):
    def forward(self, features):
        return {name: nn.functional.dropout(value, 0.5, self.training) for name, value in features.items()}
