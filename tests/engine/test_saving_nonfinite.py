"""A weight, loss or buffer that is not finite is never saved, and never resumed."""

import pytest
import torch
from fakes import make_trainer
from test_overflow import Calm

from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint, save_checkpoint
from segkit.engine.hooks import Hook
from segkit.engine.train_state import restore
from segkit.utils.errors import SegkitError


class Spoil(Hook):
    """Puts a bad value somewhere after a step."""

    def __init__(self, name, value=float("nan"), iteration=8):
        self.of, self.value, self.iteration = name, value, iteration

    def after_step(self, trainer):
        if trainer.iteration == self.iteration:
            tensor = dict([*trainer.model.named_buffers(), *trainer.model.named_parameters()])[self.of]
            tensor.data.view(-1)[-1] = self.value


class Wait(Hook):
    """Without it, it would be chance how many steps later the failure is noticed."""

    def after_step(self, trainer):
        trainer.named_hooks()["PeriodicCheckpoint"].writer.wait()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["layers.1.running_mean", "aside.running_var", "largest", "aside.bias"])
def test_a_value_that_is_not_finite_is_never_saved(tmp_path, name, value, precision, caplog):
    """Weights, and buffers of any kind, also of a part that no loss depends on."""
    trainer = make_trainer(
        tmp_path, model=Calm(), extra=[Spoil(name, value)], val_loader=None, precision=precision, checkpoint_period=4
    )
    trainer.hooks.append(Wait())
    with pytest.raises(SegkitError) as error:
        trainer.train()
    assert f"model_0000008.pth' is not written: the model's {name} is NaN or infinite" in str(error.value)
    assert str(error.value).endswith(f"the last good checkpoint is {tmp_path / 'model_0000004.pth'}")
    assert find_last_checkpoint(tmp_path).name == "model_0000004.pth"
    assert [path.name for path in tmp_path.glob("model_*.pth")] == ["model_0000004.pth"]
    assert "its state was not saved" in caplog.text


@pytest.mark.parametrize("period", [0, 5])
def test_nor_at_the_end_of_a_run(tmp_path, period):
    extra = [Spoil("layers.1.running_var", iteration=12)]
    with pytest.raises(SegkitError, match=r"model_final.pth.*not written.*layers.1.running_var"):
        make_trainer(tmp_path, model=Calm(), extra=extra, val_loader=None, checkpoint_period=period).train()
    assert not (tmp_path / "model_final.pth").exists()


def test_nor_the_ema_and_the_weights_beside_it(tmp_path):
    trainer = make_trainer(tmp_path, model=Calm(), ema_decay=0.9, extra=[Spoil("aside.weight")], val_loader=None)
    with pytest.raises(SegkitError, match=r"the model's aside.weight is NaN"):
        trainer.train()


def test_constants_that_are_infinite_by_construction_are_saved_and_resumed(tmp_path):
    trainer = make_trainer(tmp_path, model=Calm(), iterations=6, val_loader=None)
    assert trainer.infinite_buffers == ["mask"]
    trainer.train()
    state = read_checkpoint(tmp_path / "model_final.pth")
    assert state["model"]["mask"].tolist() == [0, -torch.inf]
    make_trainer(tmp_path, model=Calm(), iterations=8, state=state, val_loader=None).train()


@pytest.mark.parametrize("name", ["layers.1.running_var", "layers.0.weight", "largest"])
def test_a_checkpoint_of_earlier_versions_that_holds_nan_is_not_resumed(tmp_path, name):
    make_trainer(tmp_path, model=Calm(), iterations=6, val_loader=None).train()
    state = read_checkpoint(tmp_path / "model_final.pth")
    del state["infinite_buffers"]
    state["model"][name].view(-1)[0] = torch.nan
    trainer = make_trainer(tmp_path, model=Calm(), iterations=8, val_loader=None)
    with pytest.raises(SegkitError, match=rf"the checkpoint's {name} is NaN or infinite, so it cannot be resumed"):
        restore(trainer, state)


def test_a_model_whose_statistics_are_nan_does_not_begin(tmp_path):
    model = Calm()
    model.layers[1].running_var[3] = torch.nan
    with pytest.raises(SegkitError, match=r"layers.1.running_var is NaN or infinite before the first step \(1 such"):
        make_trainer(tmp_path, model=model)


def test_saving_by_hand_refuses_it_too(tmp_path):
    with pytest.raises(SegkitError, match=r"the model's b is NaN or infinite.*there is no checkpoint yet"):
        save_checkpoint(tmp_path / "model_x.pth", {"model": {"a": torch.ones(2), "b": torch.tensor(torch.nan)}})
    assert not list(tmp_path.iterdir())


def test_a_complex_buffer_that_is_nan_is_not_saved(tmp_path):
    state = {"model": {"c": torch.tensor([complex(float("nan"), 0)])}, "iteration": 1}
    with pytest.raises(SegkitError, match=r"the model's c is NaN"):
        save_checkpoint(tmp_path / "x.pth", state)
