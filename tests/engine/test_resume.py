"""A run that is interrupted, anywhere, ends as one that was not."""

import logging
import os
import signal

import pytest
import torch
from fakes import FakeModel, lines, make_trainer

from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint
from segkit.engine.hooks import Hook


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    trainer = make_trainer(folder)
    trainer.train()
    return lines(folder), trainer.model.state_dict(), read_checkpoint(folder / "model_best.pth")


def go_on(folder):
    state = read_checkpoint(find_last_checkpoint(folder))
    trainer = make_trainer(folder, state=state)
    trainer.train()
    return trainer


def assert_same(folder, trainer, whole):
    metrics, weights, best = whole
    assert lines(folder) == metrics
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert read_checkpoint(folder / "model_best.pth")["iteration"] == best["iteration"]
    assert find_last_checkpoint(folder).name == "model_final.pth"


def test_what_a_whole_run_writes(whole):
    metrics, _, best = whole
    assert [line["iteration"] for line in metrics] == [1, 3, 4, 6, 8, 9, 12]
    assert [line["iteration"] for line in metrics if "segm/AP" in line] == [4, 8, 12]
    assert {"epoch", "loss/total", "loss/fit", "loss/size", "grad_norm", "lr"} <= metrics[0].keys()
    aps = {line["iteration"]: line["segm/AP"] for line in metrics if "segm/AP" in line}
    assert aps[best["iteration"]] == max(aps.values())


@pytest.mark.parametrize("done", [5, 10])
def test_killed_and_resumed_from_a_periodic_checkpoint(tmp_path, whole, done):
    class Kill(Hook):
        def before_step(self, trainer):
            if trainer.iteration == done + 1:
                trainer.consistent = False  # as with kill -9: nothing is saved now
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, extra=[Kill()]).train()
    assert find_last_checkpoint(tmp_path).name == f"model_{done:07d}.pth"
    assert_same(tmp_path, go_on(tmp_path), whole)


@pytest.mark.parametrize("method", ["before_step", "after_step"])
@pytest.mark.parametrize("iteration", [1, 4, 7, 12])
def test_ctrl_c_in_a_hook(tmp_path, whole, method, iteration, caplog):
    class Press(Hook):
        def press(self, trainer):
            if trainer.iteration == iteration:
                os.kill(os.getpid(), signal.SIGINT)

    setattr(Press, method, Press.press)
    if (method, iteration) == ("before_step", 12):
        pytest.skip("no step begins after the last")
    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.WARNING):
        make_trainer(tmp_path, extra=[Press()]).train()
    assert "python tools/train_net.py --resume" in caplog.text
    assert read_checkpoint(find_last_checkpoint(tmp_path))["iteration"] == iteration
    assert_same(tmp_path, go_on(tmp_path), whole)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, ValueError])
def test_error_in_the_model(tmp_path, whole, error):
    class Failing(FakeModel):
        def losses(self, images, targets, generator):
            if self.calls == 7:
                raise error("out of memory")
            return super().losses(images, targets, generator)

    with pytest.raises(error):
        make_trainer(tmp_path, model=Failing()).train()
    assert read_checkpoint(find_last_checkpoint(tmp_path))["iteration"] == 7
    assert_same(tmp_path, go_on(tmp_path), whole)


def test_ctrl_c_during_the_optimizers_step_waits_for_its_end(tmp_path, whole):
    trainer = make_trainer(tmp_path)
    step = trainer.optimizer.step

    def pressing(*args, **kwargs):
        if trainer.iteration == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*args, **kwargs)

    trainer.optimizer.step = pressing
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert trainer.consistent and trainer.iteration == 7
    state = read_checkpoint(find_last_checkpoint(tmp_path))
    assert state["iteration"] == 7
    resumed = go_on(tmp_path)
    for name, value in resumed.model.state_dict().items():
        assert torch.equal(value, whole[1][name]), name
    assert lines(tmp_path) == whole[0]


def test_interrupted_twice_in_the_same_place(tmp_path, whole):
    class Press(Hook):
        def after_step(self, trainer):
            if trainer.iteration == 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, extra=[Press()]).train()
    state = read_checkpoint(find_last_checkpoint(tmp_path))
    assert state["pending"] == ["Press", "Writers", "PeriodicCheckpoint"]
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, extra=[Press()], state=state).train()
    assert_same(tmp_path, go_on(tmp_path), whole)


def test_nothing_is_saved_before_the_first_step(tmp_path, caplog):
    class Press(Hook):
        def before_step(self, trainer):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, extra=[Press()]).train()
    assert find_last_checkpoint(tmp_path) is None and not list(tmp_path.glob("*.pth"))
    assert "nothing to save" in caplog.text


def test_training_on_after_the_end(tmp_path):
    make_trainer(tmp_path, iterations=6).train()
    state = read_checkpoint(find_last_checkpoint(tmp_path))
    trainer = make_trainer(tmp_path, iterations=9, state=state)
    assert not trainer.done
    trainer.train()
    assert lines(tmp_path)[-1]["iteration"] == 9
    assert read_checkpoint(tmp_path / "model_final.pth")["iteration"] == 9


def test_a_new_learning_rate_is_obeyed(tmp_path):
    make_trainer(tmp_path, iterations=6).train()
    trainer = make_trainer(tmp_path, iterations=9, state=read_checkpoint(tmp_path / "model_final.pth"))
    assert trainer.optimizer.param_groups[0]["lr"] == 0.05


MORE = {"accumulate": 2, "ema_decay": 0.9, "clip_value": 0.05}


@pytest.fixture(scope="module")
def whole_with_more(tmp_path_factory):
    folder = tmp_path_factory.mktemp("more")
    make_trainer(folder, **MORE).train()
    return lines(folder), read_checkpoint(folder / "model_final.pth")


@pytest.mark.parametrize("call, error", [(15, RuntimeError), (16, KeyboardInterrupt)])
def test_resume_with_accumulation_and_ema(tmp_path, whole_with_more, call, error):
    """Interrupted in the first and in the second batch of a step, after the batch norms have learnt from it."""

    class Failing(FakeModel):
        def losses(self, images, targets, generator):
            losses = super().losses(images, targets, generator)
            if self.calls == call:
                raise error("out of memory")
            return losses

    with pytest.raises(error):
        make_trainer(tmp_path, model=Failing(), **MORE).train()
    state = read_checkpoint(find_last_checkpoint(tmp_path))
    assert state["iteration"] == 7
    make_trainer(tmp_path, state=state, **MORE).train()
    metrics, final = whole_with_more
    assert lines(tmp_path) == metrics
    resumed = read_checkpoint(tmp_path / "model_final.pth")
    assert resumed["ema"]["steps"] == final["ema"]["steps"] == 12
    for of in (lambda s: s["model"], lambda s: s["ema"]["weights"]):
        assert all(torch.equal(value, of(final)[name]) for name, value in of(resumed).items())
