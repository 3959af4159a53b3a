"""A run that diverges says when, with which images, in which layer, and what to do."""

import pytest
import torch
from fakes import VAL, FakeBatch, FakeLoader, FakeModel, lines, make_trainer
from torch import nn

from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint
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
    def batches_at(self, iteration):
        batch = next(iter(FakeLoader(iteration)))
        named = NamedBatch(batch.images, batch.targets)
        named.number = iteration + 1
        return [named]

    def __iter__(self):
        i = self.start_iteration
        while True:
            yield from self.batches_at(i)
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
    assert "solver.optimizer.lr" in str(error.value) and not list(tmp_path.glob("model_*.pth"))
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
        def batches_at(self, iteration):
            (batch,) = super().batches_at(iteration)
            if iteration == 2:
                batch.images[1, 0] = float("nan")
            return [batch]

    text = message(tmp_path, loader=BadLoader())
    assert "in iteration 3 (images image3.png)" in text and "Image 0 of the batch holds" in text


class Root(FakeModel):
    """In one call the square root of 0, whose gradient is NaN."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def losses(self, images, targets, generator):
        losses = super().losses(images, targets, generator)
        bad = self.calls == self.call
        return {**losses, "root": (self.layers[3].weight * (not bad)).square().sum().sqrt()}


@pytest.mark.parametrize("clipping", [{}, {"clip_norm": None}, {"clip_norm": None, "clip_value": 0.1}])
def test_a_gradient_that_is_nan_though_the_loss_is_not(tmp_path, clipping):
    class Since(Root):
        def losses(self, images, targets, generator):
            self.call = max(self.call, self.calls + 1)
            return super().losses(images, targets, generator)

    text = message(tmp_path, model=Since(4), **clipping)
    assert "grad_norm became NaN or infinite in iteration 4" in text
    assert "1 gradients are not, of which layers.3.weight's is the last" in text


@pytest.mark.parametrize("clipping", [{}, {"clip_norm": None}, {"clip_norm": None, "clip_value": 0.1}])
def test_a_step_with_such_a_gradient_is_skipped(tmp_path, clipping):
    states = []

    class Watch(Hook):
        def after_step(self, trainer):
            states.append({name: value.clone() for name, value in trainer.model.state_dict().items()})

    trainer = make_trainer(tmp_path, model=Root(4), max_skipped=1, val_loader=None, extra=[Watch()], **clipping)
    trainer.train()
    assert trainer.skipped == 1
    # Running statistics too, although the forward pass is repeated to name the layer.
    assert all(torch.equal(value, states[2][name]) for name, value in states[3].items())
    assert not any(torch.equal(value, states[3][name]) for name, value in states[4].items())
    assert all(record["grad_norm"] > 0 for record in lines(tmp_path))


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


class SpoiltLoader(NamedLoader):
    """Some iterations' images hold a NaN."""

    def __init__(self, *bad, start_iteration=0):
        super().__init__(start_iteration)
        self.bad = bad

    def batches_at(self, iteration):
        (batch,) = super().batches_at(iteration)
        if iteration + 1 in self.bad:
            batch.images[1, 0] = float("nan")
        return [batch]


def test_a_step_is_skipped_and_changes_nothing(tmp_path, caplog):
    states = {}

    class Watch(Hook):
        def after_step(self, trainer):
            optimizer = {
                f"{i}.{key}": v for i, s in trainer.optimizer.state_dict()["state"].items() for key, v in s.items()
            }
            everything = {**trainer.model.state_dict(), **optimizer, **trainer.ema.model_state()}
            states[trainer.iteration] = {name: value.clone() for name, value in everything.items()}

    trainer = make_trainer(tmp_path, extra=[Watch()], max_skipped=2, ema_decay=0.9, val_loader=None)
    trainer.loader = SpoiltLoader(5, 8)
    trainer.train()
    same = [all(torch.equal(states[i][name], states[i - 1][name]) for name in states[i]) for i in range(2, 13)]
    assert [i for i, equal in enumerate(same, 2) if equal] == [5, 8]
    assert (
        "step skipped (1 of at most 2): loss/fit became NaN or infinite in iteration 5 (images image5.png)"
        in caplog.text
    )
    assert "Image 0 of the batch" in caplog.text and trainer.skipped == 2
    records = lines(tmp_path)
    assert {r["iteration"]: r["skipped_steps"] for r in records if "skipped_steps" in r} == {6: 1, 9: 1}
    assert all(r["loss/total"] > 0 for r in records)
    assert sorted(p.name for p in tmp_path.glob("nonfinite*")) == [f"nonfinite_batch_000000{i}.pth" for i in (5, 8)]
    assert read_checkpoint(tmp_path / "model_final.pth")["skipped"] == 2


def test_one_step_too_many_ends_the_run_also_a_resumed_one(tmp_path):
    trainer = make_trainer(tmp_path, max_skipped=1, val_loader=None)
    trainer.loader = SpoiltLoader(3, 8)
    with pytest.raises(SegkitError, match=r"diverged after 1 steps were skipped: loss/fit .* in iteration 8"):
        trainer.train()
    state = read_checkpoint(find_last_checkpoint(tmp_path))
    assert (state["iteration"], state["skipped"]) == (5, 1)
    trainer = make_trainer(tmp_path, max_skipped=1, val_loader=None, state=state)
    trainer.loader = SpoiltLoader(8, start_iteration=5)
    with pytest.raises(SegkitError, match=r"diverged after 1 steps were skipped"):
        trainer.train()


def test_skipping_does_not_help_weights_of_nan(tmp_path):
    text = message(tmp_path, lambda model: model.layers[3].bias.fill_(float("nan")), max_skipped=5)
    assert "Already before this step layers.3.bias is not finite" in text
    assert torch.load(tmp_path / "nonfinite_batch_0000005.pth", weights_only=True)["model"] is None


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
