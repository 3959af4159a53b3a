"""The moving average of the weights: its arithmetic, when it is used, what a checkpoint holds of it."""

import logging
import os
import signal

import pytest
import torch
from fakes import FakeModel, lines, make_trainer

from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.ema import EMA
from segkit.engine.hooks import Hook
from segkit.engine.train_state import restore
from segkit.utils.errors import SegkitError


def test_the_definition():
    model = FakeModel()
    ema = EMA(model, 0.8)
    expected = {name: p.detach().double() for name, p in model.named_parameters()}
    for step in range(60):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        ema.update()
        decay = min(0.8, (1 + step) / (10 + step))
        expected = {n: decay * expected[n] + (1 - decay) * p.detach().double() for n, p in model.named_parameters()}
    state = ema.model_state()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.allclose(state[name].double(), value, atol=1e-5) for name, value in expected.items())
    assert torch.equal(state["layers.1.running_mean"], model.layers[1].running_mean)  # buffers are the model's


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0, float("nan")])
def test_a_decay_that_cannot_be(decay):
    with pytest.raises(ValueError, match=r"above 0 and below 1"):
        EMA(FakeModel(), decay)


def test_a_step_that_the_scaler_skipped_changes_nothing():
    model = FakeModel()
    ema, certain = EMA(model, 0.8), EMA(model, 0.8)
    before = ema.model_state()["layers.0.weight"].clone()
    with torch.no_grad():
        model.layers[0].weight.add_(1)
    ema.update(torch.tensor(False))
    assert torch.equal(ema.model_state()["layers.0.weight"], before)
    ema.update(torch.tensor(True))
    certain.steps = 1
    certain.update()
    assert torch.allclose(ema.model_state()["layers.0.weight"], certain.model_state()["layers.0.weight"])


def test_in_use_and_back_also_after_an_error():
    model = FakeModel()
    ema = EMA(model, 0.8)
    with torch.no_grad():
        model.layers[0].weight.add_(1)
    ema.update()
    own, average = model.layers[0].weight.detach().clone(), ema.model_state()["layers.0.weight"].clone()
    with pytest.raises(ZeroDivisionError), ema.in_use():
        assert torch.equal(model.layers[0].weight, average) and not torch.equal(own, average)
        raise ZeroDivisionError
    assert torch.equal(model.layers[0].weight, own)
    assert torch.equal(ema.model_state()["layers.0.weight"], average)


def test_ctrl_c_while_they_are_exchanged():
    model = FakeModel()
    ema = EMA(model, 0.8)
    with torch.no_grad():
        model.layers[0].weight.add_(1)
    own = model.layers[0].weight.detach().clone()
    named_parameters = ema._parameters

    class Pressing(list):
        def __iter__(self):
            os.kill(os.getpid(), signal.SIGINT)
            ema._parameters = named_parameters
            return super().__iter__()

    ema._parameters = Pressing(named_parameters)
    with pytest.raises(KeyboardInterrupt), ema.in_use():
        pytest.fail("it was raised before the block")
    assert torch.equal(model.layers[0].weight, own)


def test_shared_and_frozen_parameters():
    model = FakeModel()
    model.tied = model.layers[0]
    model.layers[3].requires_grad_(False)
    ema = EMA(model, 0.5)
    with torch.no_grad():
        model.layers[0].weight.add_(1)
    ema.update()
    state = ema.model_state()
    assert torch.equal(state["tied.weight"], state["layers.0.weight"])
    assert not torch.equal(state["tied.weight"], model.tied.weight)
    assert "layers.3.weight" not in ema.state_dict()["weights"]


def test_the_training_is_the_same_and_the_average_is_what_is_evaluated_and_saved(tmp_path):
    plain, trainer = make_trainer(tmp_path / "plain"), make_trainer(tmp_path / "ema", ema_decay=0.9)
    evaluated = []

    class Watch(Hook):
        def after_step(self, trainer):
            if trainer.evaluated_at == trainer.iteration:
                evaluated.append(trainer.ema.model_state()["layers.0.weight"].clone())

    predict, seen = trainer.model.predict, []
    trainer.model.predict = lambda *args: (
        seen.append(trainer.model.layers[0].weight.detach().clone()),
        predict(*args),
    )[1]
    trainer.hooks.insert(-2, Watch())
    for run in (plain, trainer):
        run.train()
    keys = [key for key in lines(tmp_path / "ema")[0] if key.startswith("loss/")]
    for line, other in zip(lines(tmp_path / "ema"), lines(tmp_path / "plain"), strict=True):
        assert [line[key] for key in keys] == [other[key] for key in keys]
        assert "segm/AP" not in line or line["segm/AP"] != other["segm/AP"]
    assert len(seen) == 3 and all(map(torch.equal, seen, evaluated))
    state = read_checkpoint(tmp_path / "ema" / "model_final.pth")
    own = trainer.model.state_dict()
    assert all(torch.equal(state["ema"]["weights"][name], own[name]) for name, _ in trainer.model.named_parameters())
    assert torch.equal(state["model"]["layers.0.weight"], evaluated[-1])
    assert all(torch.equal(own[name], value) for name, value in plain.model.state_dict().items())


def test_switched_on_and_off_when_resuming(tmp_path, caplog):
    make_trainer(tmp_path / "with", iterations=4, ema_decay=0.9).train()
    state = read_checkpoint(tmp_path / "with" / "model_final.pth")
    trainer = make_trainer(tmp_path / "off")
    with caplog.at_level(logging.WARNING):
        restore(trainer, state)
    assert torch.equal(trainer.model.layers[0].weight, state["ema"]["weights"]["layers.0.weight"])
    assert "ema_decay is null now" in caplog.text
    make_trainer(tmp_path / "without", iterations=4).train()
    state = read_checkpoint(tmp_path / "without" / "model_final.pth")
    trainer = make_trainer(tmp_path / "on", ema_decay=0.9)
    with torch.no_grad():
        trainer.model.layers[0].weight.add_(1)
    restore(trainer, state)
    assert "ema_decay is new" in caplog.text and trainer.ema.steps == 0
    assert torch.equal(trainer.ema.model_state()["layers.0.weight"], state["model"]["layers.0.weight"])


@pytest.mark.parametrize(
    "former, present", [("averaged", "ema"), ("averaged_weights", "ema_weights"), ("sound", "consistent")]
)
def test_former_names_of_attributes(tmp_path, former, present):
    trainer = make_trainer(tmp_path)
    with pytest.raises(SegkitError, match=rf"trainer\.{former}.*trainer\.{present}"):
        getattr(trainer, former)
    assert not hasattr(trainer, former)
