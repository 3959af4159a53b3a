"""Interruptions and failures while a step is taken, a line written or a checkpoint saved."""

import errno
import os
import signal
from pathlib import Path

import pytest
import torch
from fakes import FakeModel, lines, make_trainer

from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint
from segkit.engine.hooks import Hook, checkpoint
from segkit.utils.errors import SegkitError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    trainer = make_trainer(folder)
    trainer.train()
    return lines(folder), trainer.model.state_dict()


def go_on(folder):
    trainer = make_trainer(folder, state=read_checkpoint(find_last_checkpoint(folder)))
    trainer.train()
    return trainer


def assert_same(folder, trainer, whole):
    assert lines(folder) == whole[0]
    assert all(torch.equal(value, whole[1][name]) for name, value in trainer.model.state_dict().items())


@pytest.mark.parametrize("at", [3, 11])
def test_ctrl_c_in_a_step_after_which_hooks_have_work(tmp_path, whole, at):
    trainer = make_trainer(tmp_path)
    step = trainer.optimizer.step

    def pressing(*args, **kwargs):
        if trainer.iteration == at:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*args, **kwargs)

    trainer.optimizer.step = pressing
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert read_checkpoint(find_last_checkpoint(tmp_path))["pending"][0] == "Timer"
    assert_same(tmp_path, go_on(tmp_path), whole)
    assert read_checkpoint(tmp_path / "model_final.pth")["pending"] == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_ctrl_c_in_a_writer_loses_no_line(tmp_path, whole, when):
    trainer = make_trainer(tmp_path)
    writer = trainer.hooks[-2].writers[-1]
    write = writer.write

    def pressing(trainer, record):
        if when == "after" or record["iteration"] != 6:
            write(trainer, record)
        if record["iteration"] == 6:
            raise KeyboardInterrupt

    writer.write = pressing
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert_same(tmp_path, go_on(tmp_path), whole)


def failing_at(name, monkeypatch):
    """A disk that is full when the file called so is written."""
    save = torch.save

    def failing(state, file):
        if name in Path(file.name).name:
            file.write(b"half of")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(state, file)

    monkeypatch.setattr(torch, "save", failing)


def test_a_failed_save_of_the_best_is_made_up_for(tmp_path, whole, monkeypatch):
    with monkeypatch.context() as patch:
        failing_at("model_best", patch)
        with pytest.raises(SegkitError, match=r"model_best.pth.*No space left.*no checkpoint"):
            make_trainer(tmp_path).train()
    assert not (tmp_path / "model_best.pth").exists()
    assert_same(tmp_path, go_on(tmp_path), whole)  # compares the best model's iteration, too


def test_the_best_is_never_a_model_of_nan(tmp_path):
    class Spoil(Hook):
        def before_step(self, trainer):
            if trainer.iteration == 3:
                trainer.scaler.update = lambda: trainer.model.layers[0].weight.data.fill_(float("nan"))

    trainer = make_trainer(tmp_path, extra=[Spoil()])
    trainer.named_hooks()["Evaluation"].evaluators[0].evaluate = lambda: {"segm/AP": 0.0}
    with pytest.raises(SegkitError, match=r"weights after iteration 4 are NaN"):
        trainer.train()
    assert not (tmp_path / "model_best.pth").exists()


def test_nan_loss_with_finite_weights_is_reported_once(tmp_path, caplog):
    class Detached(FakeModel):
        def losses(self, images, targets, generator):
            extra = {"odd": torch.tensor(float("nan"))} if self.calls >= 6 else {}
            return {**super().losses(images, targets, generator), **extra}

    model = Detached()
    trainer = make_trainer(tmp_path, model=model, clip_norm=None, val_loader=None)
    trainer.scaler.scale = lambda total: torch.nan_to_num(total)
    with pytest.raises(SegkitError, match=r"diverged: loss/odd"):
        trainer.train()
    assert checkpoint.parameters_are_finite(model)
    assert "Traceback" not in caplog.text and "its state was not saved" in caplog.text


def test_a_failed_periodic_save_ends_the_run_and_leaves_the_last_good_one(tmp_path, whole, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        failing_at("model_000001", patch)
        with pytest.raises(SegkitError, match=r"No space left.*; the last good checkpoint is .*model_0000005.pth"):
            make_trainer(tmp_path, keep_checkpoints=1).train()
    assert "could not be saved" in caplog.text and "to go on from iteration 5" in caplog.text
    assert find_last_checkpoint(tmp_path).name == "model_0000005.pth" and not list(tmp_path.glob("*.tmp*"))
    assert_same(tmp_path, go_on(tmp_path), whole)
