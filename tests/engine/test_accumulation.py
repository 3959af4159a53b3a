"""A step of several batches is the step of one large batch, where a loss counts each batch's images alike."""

import pytest
import torch
from fakes import FakeBatch, FakeLoader, FakeModel, lines, make_trainer
from torch import nn

from segkit.config import load_config
from segkit.engine.hooks import Hook
from segkit.engine.train_step import seed_step
from segkit.modeling.build import build_model
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets


class Plain(FakeModel):
    """Nothing in it depends on the other images of a batch, and nothing is random."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def losses(self, images, targets, generator):
        error = self.layers(images) - targets
        return {"square": error.square().mean(), "abs": error.abs().mean()}


class Large(FakeLoader):
    """The batches of a FakeLoader, ``size`` at a time."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def __iter__(self):
        parts = super().__iter__()
        while True:
            group = [next(parts) for _ in range(self.size)]
            yield FakeBatch(torch.cat([b.images for b in group]), torch.cat([b.targets for b in group]))


@pytest.mark.parametrize("clip", [{"clip_norm": None}, {"clip_norm": 0.1}, {"clip_norm": None, "clip_value": 0.02}])
def test_it_equals_a_larger_batch(tmp_path, clip):
    trainers = []
    for name in ("parts", "whole"):
        trainer = make_trainer(tmp_path / name, model=Plain(), accumulate=3 if name == "parts" else 1, **clip)
        if name == "whole":
            trainer.loader = Large(3)
        trainer.train()
        trainers.append(trainer)
    parts, whole = (trainer.model.state_dict() for trainer in trainers)
    assert all(torch.allclose(parts[name], whole[name], rtol=0, atol=1e-5) for name in parts)
    for line, other in zip(lines(tmp_path / "parts"), lines(tmp_path / "whole"), strict=True):
        assert line.keys() == other.keys()
        assert all(line[name] == pytest.approx(other[name], abs=1e-4) for name in line)
    assert torch.isclose(trainers[0].losses["total"], trainers[0].losses["square"] + trainers[0].losses["abs"])


def test_iterations_are_the_optimizers_steps(tmp_path):
    seen = []

    class Watch(Hook):
        def after_step(self, trainer):
            seen.append((trainer.iteration, len(trainer.batches), trainer.model.calls))
            assert trainer.batch is not None

    trainer = make_trainer(tmp_path, iterations=3, accumulate=4, extra=[Watch()], val_loader=None)
    trainer.train()
    assert seen == [(1, 4, 4), (2, 4, 8), (3, 4, 12)]
    steps = [state["step"].item() for state in trainer.optimizer.state.values()]
    assert set(steps) == {3} and trainer.batches == []


def test_each_batch_of_a_step_has_its_own_randomness():
    drawn = []
    for step, part in ((0, 0), (0, 1), (1, 0), (0, 1)):
        generator = seed_step(7, step, part, "cpu")
        drawn.append((*torch.rand(3).tolist(), *torch.rand(3, generator=generator).tolist()))
    assert drawn[1] == drawn[3] and len(set(drawn)) == 3


def test_an_error_in_the_second_batch_leaves_the_model_as_it_was(tmp_path):
    class Failing(FakeModel):
        def losses(self, images, targets, generator):
            losses = super().losses(images, targets, generator)
            if self.calls == 6:
                raise RuntimeError("out of memory")
            return losses

    trainer = make_trainer(tmp_path, model=Failing(), accumulate=2, val_loader=None)
    before = []

    class Watch(Hook):
        def before_step(self, trainer):
            before.append({name: value.clone() for name, value in trainer.model.state_dict().items()})

    trainer.hooks.append(Watch())
    with pytest.raises(RuntimeError, match=r"out of memory"):
        trainer.train()
    assert trainer.iteration == 2
    assert all(torch.equal(value, before[-1][name]) for name, value in trainer.model.state_dict().items())


def test_a_proposal_network_where_the_counts_are_equal():
    """Every anchor is sampled and none ignored, so that each image counts as many."""
    cfg = load_config(
        "segkit://quickstart.yaml",
        [
            "model={name: ProposalNetwork, backbone: {name: TinyNet, width: 8}, "
            "neck: {name: FPN, out_channels: 16}, proposal_generator: {name: RPN, head: {name: RPNHead}, "
            "anchor_generator: {name: AnchorGenerator, sizes: [[16], [32], [64], [96], [128]]}, "
            "batch_size_per_image: 100000, positive_fraction: 1.0, fg_iou_threshold: 0.5, bg_iou_threshold: 0.5}}",
        ],
    )
    torch.manual_seed(0)
    model = build_model(cfg, 1).eval()  # its batch norms would look across images
    generator = torch.Generator().manual_seed(1)
    images = [torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8, generator=generator) for _ in range(2)]
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, 4:40, 8:30] = masks[1, 20:60, 30:62] = True
    targets = [
        Targets(InstanceMasks.from_dense(m[None]).boxes().float(), torch.zeros(1, dtype=torch.long)) for m in masks
    ]

    def gradients(batches):
        model.zero_grad()
        for chosen in batches:
            batch = [images[i] for i in chosen], [targets[i] for i in chosen]
            losses = model.losses(*batch, torch.Generator().manual_seed(2))
            (sum(losses.values()) / len(batches)).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    for large, small in zip(gradients([[0, 1]]), gradients([[0], [1]]), strict=True):
        assert torch.allclose(large, small, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("settings", [{"accumulate": 0}, {"max_skipped": 1, "check_period": 3}])
def test_settings_that_cannot_be(tmp_path, settings):
    with pytest.raises(ValueError, match=r"integer of 1 or more|takes a check_period of 1"):
        make_trainer(tmp_path, **settings)
