"""A run that diverges says when, with which images, in which layer, and what to do."""

import pytest
import torch
from fakes import VAL, FakeBatch, FakeLoader, FakeModel, make_trainer
from torch import nn

from segkit.engine.hooks import Hook
from segkit.utils.errors import SegkitError


class NamedBatch(FakeBatch):
    """Of one file, named for the iteration."""

    number = 0

    def to(self, device, non_blocking=False):
        batch = NamedBatch(self.images.to(device), self.targets.to(device))
        batch.number = self.number
        return batch

    @property
    def file_names(self):
        return [f"image{self.number}.png"]


class NamedLoader(FakeLoader):
    def batch_at(self, iteration):
        batch = next(iter(FakeLoader(iteration)))
        named = NamedBatch(batch.images, batch.targets)
        named.number = iteration + 1
        return named

    def __iter__(self):
        i = self.start_iteration
        while True:
            yield self.batch_at(i)
            i += 1


class At(Hook):
    """Does something before the step of an iteration."""

    def __init__(self, iteration, what):
        self.iteration, self.what = iteration, what

    def before_step(self, trainer):
        if trainer.iteration + 1 == self.iteration:
            with torch.no_grad():
                self.what(trainer.model)


def message(tmp_path, what=lambda model: None, *, iteration=5, model=None, loader=None, **settings):
    settings = {"val_loader": None, "log_period": 4, "checkpoint_period": 100, **settings}
    trainer = make_trainer(tmp_path, model=model or FakeModel(), extra=[At(iteration, what)], **settings)
    trainer.loader = loader or NamedLoader()
    with pytest.raises(SegkitError) as error:
        trainer.train()
    assert "solver.optimizer.lr" in str(error.value) and not list(tmp_path.glob("*.pth"))
    return str(error.value)


def overflow(model):
    model.layers[0].weight.fill_(2e38)


def test_the_layer_where_the_weights_are_finite_yet(tmp_path):
    text = message(tmp_path, overflow)
    assert "in iteration 5 (images image5.png)" in text
    assert "layers.0 (Linear); its weights and its input are, the input up to" in text


def test_weights_that_are_not_finite(tmp_path):
    text = message(tmp_path, lambda model: model.layers[3].bias.fill_(float("nan")))
    assert "loss/fit became NaN or infinite in iteration 5" in text
    assert "Already before this step layers.3.bias is not finite" in text


def test_an_image(tmp_path):
    class BadLoader(NamedLoader):
        def batch_at(self, iteration):
            batch = super().batch_at(iteration)
            if iteration == 2:
                batch.images[1, 0] = float("nan")
            return batch

    text = message(tmp_path, loader=BadLoader())
    assert "in iteration 3 (images image3.png)" in text and "Image 0 of the batch holds" in text


def test_a_gradient_that_is_nan_though_the_loss_is_not(tmp_path):
    """The square root of 0. Without clipping the weights are NaN before anything is seen."""

    class Root(FakeModel):
        def losses(self, images, targets, generator):
            losses = super().losses(images, targets, generator)
            root = (self.layers[3].weight * (self.calls < 4)).square().sum().sqrt()
            return {**losses, "root": root}

    text = message(tmp_path, model=Root())
    assert "grad_norm became NaN or infinite in iteration 4" in text
    assert "1 gradients are not, of which layers.3.weight's is the last" in text
    (tmp_path / "second").mkdir()
    text = message(tmp_path / "second", model=Root(), clip_norm=None)
    assert "in iteration 5" in text and "Already before this step layers.3.weight is not finite" in text


def test_the_loss_itself(tmp_path):
    class Log(FakeModel):
        def losses(self, images, targets, generator):
            losses = super().losses(images, targets, generator)
            return {**losses, "log": losses["fit"].detach().log() if self.calls < 3 else torch.tensor(0.0).log()}

    text = message(tmp_path, model=Log())
    assert "loss/log became NaN or infinite in iteration 3" in text and "the computation of the loss itself" in text


@pytest.mark.parametrize("loader", [NamedLoader(), FakeLoader()])
def test_found_only_when_the_metrics_are_written(tmp_path, loader):
    """As on a GPU, between two looks: weights are NaN by then, and the message says how to see more."""
    text = message(tmp_path, overflow, iteration=6, check_period=4, loader=loader)
    assert "in 2 of the 2 iterations up to iteration 8; it began in iteration 6" not in text  # looked at before step 8
    assert "in iteration 8" in text and "Already before this step" in text
    (tmp_path / "late").mkdir()
    text = message(tmp_path / "late", overflow, iteration=6, check_period=1000, loader=loader)
    assert "in 3 of the 4 iterations up to iteration 8; it began in iteration 6" in text
    assert ("(images image6.png)" in text) == isinstance(loader, NamedLoader)
    assert "more parameters are not finite any more" in text and "train.log_period=1 (--resume)" in text


def test_nothing_is_evaluated_after_it(tmp_path):
    text = message(tmp_path, overflow, iteration=6, check_period=1000, val_loader=VAL, eval_period=8, log_period=100)
    assert "in 3 of the 7 iterations up to iteration 8; it began in iteration 6" in text


def test_looking_changes_nothing(tmp_path):
    trainers = []
    for period in (1, 1000):
        (tmp_path / str(period)).mkdir()
        trainers.append(make_trainer(tmp_path / str(period), check_period=period))
        trainers[-1].train()
    first, second = (trainer.model.state_dict() for trainer in trainers)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_step_that_cannot_be_repeated(tmp_path):
    class Once(FakeModel):
        def losses(self, images, targets, generator):
            losses = super().losses(images, targets, generator)
            if self.calls > 3:
                raise RuntimeError("no more")
            return {"fit": losses["fit"] * (float("nan") if self.calls == 3 else 1)}

    text = message(tmp_path, model=Once())
    assert "became NaN or infinite in iteration 3" in text and "(RuntimeError: no more)" in text


@pytest.mark.gpu
def test_fp16_on_the_gpu_names_the_layer(tmp_path):
    """The scaler skips such steps, so that the weights stay finite; it is an error where all of them are bad."""

    class Wide(FakeModel):
        def losses(self, images, targets, generator):
            return super().losses(images * 1e4, targets, generator)

    model = Wide().cuda()
    nn.init.constant_(model.layers[0].weight, 1e3)
    trainer = make_trainer(tmp_path, precision="fp16", device="cuda", model=model, val_loader=None)
    with pytest.raises(SegkitError, match=r"layers\.0 \(Linear\).*float16"):
        trainer.train()
