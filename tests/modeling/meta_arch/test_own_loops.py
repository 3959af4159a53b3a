"""Losses without a generator, as in a user's training loop: torch's global generator draws all random numbers."""

import numpy as np
import pytest
import torch
from detectors import MODELS, STANDARD, batch, build
from torch import nn

from segkit.modeling.interfaces import ProposalGenerator
from segkit.modeling.layers import sampling
from segkit.modeling.modes import evaluation_mode
from segkit.modeling.proposals.rpn import RPN
from segkit.modeling.roi_heads.standard import StandardROIHeads
from segkit.utils.errors import SegkitError


@pytest.fixture
def drawn(monkeypatch):
    """Results of all random choices of boxes, in the order of the calls."""
    found = []
    draw = sampling.draw

    def watch(indices, count, generator):
        found.append(draw(indices, count, generator))
        return found[-1]

    monkeypatch.setattr(sampling, "draw", watch)
    return found


def samples(model, drawn, generator=None, *, predicting=False):
    drawn.clear()
    images, targets = batch()
    with torch.no_grad(), evaluation_mode(model):  # no batch norm learns, so that only the samples can differ
        if predicting:
            model.predict_with_losses(images, targets, generator)
        else:
            model.losses(images, targets, generator)
    return list(drawn)


def same(first, second):
    return len(first) == len(second) and all(map(torch.equal, first, second))


@pytest.mark.parametrize("predicting", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_calls_sample_differently_and_a_seed_repeats_them(name, predicting, drawn):
    """Anchors for all models, proposals for those with RoI heads; each part draws from the global state."""
    model = build(name)
    torch.manual_seed(1)
    first, second = (samples(model, drawn, predicting=predicting) for _ in range(2))
    assert len(first) == (4 if name == "proposals" else 8)  # positive and negative, of two images, in one or two stages
    stages = [slice(0, 4)] if name == "proposals" else [slice(0, 4), slice(4, 8)]
    assert not any(same(first[stage], second[stage]) for stage in stages)
    torch.manual_seed(1)
    assert same(samples(model, drawn, predicting=predicting), first)
    assert same(samples(model, drawn, predicting=predicting), second)
    torch.manual_seed(2)
    assert not same(samples(model, drawn, predicting=predicting), first)


@pytest.mark.parametrize("name", ["cascade", "proposals", "class-agnostic"])
def test_the_global_state_moves_without_a_generator_and_stays_with_one(name, drawn):
    model = build(name)
    before = torch.get_rng_state()
    samples(model, drawn, torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)
    samples(model, drawn)
    assert not torch.equal(torch.get_rng_state(), before)


def test_the_draws_are_randperm_of_the_global_state():
    indices = torch.arange(100, 200)
    torch.manual_seed(5)
    found = [sampling.draw(indices, 7, None) for _ in range(2)]
    torch.manual_seed(5)
    expected = [indices[torch.randperm(100)[:7]] for _ in range(2)]
    assert same(found, expected) and not same(found[:1], found[1:])


def test_dropout_and_samples_share_the_global_stream(drawn):
    """A dropout that draws from the global state before the sampling moves the samples."""
    plain, dropping = build("faster").train(), build("faster").train()
    dropping.neck = nn.Sequential(dropping.neck, DropMaps())
    found = []
    for model in (plain, dropping):
        torch.manual_seed(1)
        drawn.clear()
        with torch.no_grad():
            model.losses(*batch())
        found.append(list(drawn))
    assert not same(*found)


class DropMaps(nn.Module):
    def forward(self, features):
        return {name: nn.functional.dropout(value, 0.1, self.training) for name, value in features.items()}


class OwnGenerator(RPN):
    """A proposal generator that draws by itself."""

    def losses(self, output, targets, generator):
        losses = super().losses(output, targets, generator)
        return {**losses, "own": torch.rand((), generator=generator) + losses["rpn_cls"] * 0}


class GlobalHeads(StandardROIHeads):
    """RoI heads that ignore the generator and draw from the global state."""

    def losses(self, features, proposals, targets, generator, sizes=None):
        losses = super().losses(features, proposals, targets, generator, sizes)
        return {**losses, "own": torch.rand(()) + losses["cls"] * 0}


@pytest.mark.parametrize("part", [OwnGenerator, GlobalHeads])
def test_custom_components_sample_differently_in_each_call(part):
    model = build("faster")
    if issubclass(part, ProposalGenerator):
        model.proposal_generator.__class__ = part
    else:
        model.roi_heads.__class__ = part

    def own(generator=None):
        with torch.no_grad():
            return model.losses(*batch(), generator)["own"].item()

    torch.manual_seed(1)
    first, second = own(), own()
    torch.manual_seed(1)
    assert own() == first != second
    assert own(torch.Generator().manual_seed(1)) == own(torch.Generator().manual_seed(1))


def test_a_loop_of_ones_own_repeats_by_its_seed():
    assert STANDARD["batch_size_per_image"] == 64
    runs = []
    for seed in (0, 0, 1):
        model = build("faster").train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        torch.manual_seed(seed)
        totals = []
        for _ in range(3):
            total = torch.stack(list(model.losses(*batch()).values())).sum()
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            totals.append(total.item())
        runs.append(totals)
    assert runs[0] == runs[1] and np.abs(np.subtract(runs[0], runs[2])).min() > 0


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (0, r"generator: expected a torch.Generator or None, got int; .* torch.Generator\('cpu'\)"),
        (np.random.default_rng(0), r"expected a torch.Generator or None, got Generator"),
    ],
)
@pytest.mark.parametrize("method", ["losses", "predict_with_losses"])
def test_a_wrong_generator_raises(generator, message, method):
    with pytest.raises(SegkitError, match=message):
        getattr(build("proposals"), method)(*batch(), generator)


@pytest.mark.gpu
def test_on_cuda_the_gpus_global_state_draws(drawn):
    model = build("cascade").cuda()
    torch.cuda.manual_seed(1)
    first, second = samples(model, drawn), samples(model, drawn)
    torch.cuda.manual_seed(1)
    assert same(samples(model, drawn), first) and not same(first, second)
    with pytest.raises(SegkitError, match=r"generator: is on cpu, and the model is on cuda"):
        samples(model, drawn, torch.Generator())
