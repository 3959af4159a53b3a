"""kill -9 at any moment, signals, and hooks that fail: the run goes on as if nothing had been."""

import os
import random
import signal
import time

import pytest
import torch
from fakes import FakeModel, lines, make_trainer
from forks import assert_same, end, go_on, start, whole_run

from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint
from segkit.engine.hooks import Hook, PeriodicCheckpoint
from segkit.engine.resume import newest_good_checkpoint
from segkit.utils.atomic import remove_leftovers


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("whole"))


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


class Settled(Hook):
    """Waits before each step for what is being written: the test knows what is there when the process ends in it."""

    def before_step(self, trainer):
        for hook in trainer.hooks:
            if isinstance(hook, PeriodicCheckpoint):
                hook.writer.wait()


class Dying(FakeModel):
    """Killed in its seventh step, or in its second evaluation."""

    def __init__(self, where):
        super().__init__()
        self.where, self.predicted = where, 0

    def losses(self, images, targets, generator):
        if self.training and self.calls == 6 and self.where == "step":
            kill()
        return super().losses(images, targets, generator)

    def predict(self, images, sizes=None):
        self.predicted += 1
        if self.predicted == 2 and self.where == "evaluation":
            kill()
        return super().predict(images, sizes)


def die_while_saving(folder):
    save = torch.save

    def half(state, file):
        save(state, file)
        if state["iteration"] == 10:
            file.flush()
            os.ftruncate(file.fileno(), file.tell() // 2)
            kill()

    torch.save = half
    make_trainer(folder).train()


def die_in_the_optimizers_step(folder):
    trainer = make_trainer(folder, extra=[Settled()])
    step = trainer.optimizer.step

    def half(*args, **kwargs):
        if trainer.iteration == 8:
            kill()
        return step(*args, **kwargs)

    trainer.optimizer.step = half
    trainer.train()


@pytest.mark.parametrize("where", ["step", "evaluation", "optimizer", "checkpoint"])
def test_kill_9(tmp_path, whole, where):
    runs = {"optimizer": die_in_the_optimizers_step, "checkpoint": die_while_saving}
    run = runs.get(where, lambda folder: make_trainer(folder, model=Dying(where), extra=[Settled()]).train())
    assert end(start(lambda: run(tmp_path))) == -signal.SIGKILL
    leftovers = remove_leftovers(tmp_path)
    assert leftovers == (where == "checkpoint")
    assert_same(tmp_path, go_on(tmp_path), whole)
    assert find_last_checkpoint(tmp_path).name == "model_final.pth"


def test_kill_9_at_random_moments(tmp_path):
    """The short form of kill9.py."""
    settings = {"iterations": 60, "checkpoint_period": 4, "eval_period": 10, "keep_checkpoints": 2, "log_period": 1}
    whole = whole_run(tmp_path / "whole", **settings)
    folder, draw, kills, status = tmp_path / "run", random.Random(0), 0, None
    folder.mkdir()

    class Slow(Hook):
        def before_step(self, trainer):
            time.sleep(0.002)

    while status != 0:
        pid = start(lambda: go_on(folder, extra=[Slow()], **settings))
        if kills < 4:
            time.sleep(0.02 + draw.random() * 0.2)
            os.kill(pid, signal.SIGKILL)
        status = end(pid)
        kills += status == -signal.SIGKILL
    assert kills >= 1
    trainer = make_trainer(tmp_path / "again", state=read_checkpoint(folder / "model_final.pth"), **settings)
    assert_same(folder, trainer, whole)
    assert len(list(folder.glob("model_0*.pth"))) == 2


class Signalling(Hook):
    """Sends a signal ``times`` in the step after ``at``, while the model is asked for its losses."""

    def __init__(self, number, at=6, times=1):
        self.number, self.at, self.times = number, at, times

    def before_step(self, trainer):
        if trainer.iteration == self.at:
            losses = trainer.model.losses

            def interrupted(*args):
                trainer.model.losses = losses
                for _ in range(self.times):
                    os.kill(os.getpid(), self.number)
                return losses(*args)

            trainer.model.losses = interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_says_resumable(tmp_path, whole, number):
    assert end(start(lambda: make_trainer(tmp_path, extra=[Signalling(number)]).train())) == 75
    assert read_checkpoint(find_last_checkpoint(tmp_path))["iteration"] == 7
    assert_same(tmp_path, go_on(tmp_path), whole)


def test_a_second_signal_stops_at_once(tmp_path, whole):
    pid = start(lambda: make_trainer(tmp_path, extra=[Settled(), Signalling(signal.SIGTERM, times=2)]).train())
    assert end(pid) == -signal.SIGTERM
    assert read_checkpoint(find_last_checkpoint(tmp_path))["iteration"] == 5  # that of the period
    assert_same(tmp_path, go_on(tmp_path), whole)


def test_a_second_signal_while_the_first_is_being_saved(tmp_path, whole):
    def run():
        save = torch.save

        def slow(state, file):
            if state["iteration"] == 7:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            save(state, file)

        torch.save = slow
        make_trainer(tmp_path, extra=[Signalling(signal.SIGTERM)]).train()

    assert end(start(run), limit=30) == -signal.SIGTERM
    assert_same(tmp_path, go_on(tmp_path), whole)


def test_the_programs_own_handlers_stay(tmp_path):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        make_trainer(tmp_path, iterations=8, extra=[Signalling(signal.SIGTERM)]).train()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Failing(Hook):
    """Raises in one of its methods, once the training is at its seventh iteration."""

    def __init__(self, method):
        self.method = method
        self.armed = True

    def fail(self, method, trainer=None):
        if method == self.method and self.armed and (trainer is None or trainer.iteration >= 7):
            raise ZeroDivisionError(method)

    def before_train(self, trainer):
        self.fail("before_train", trainer)

    def before_step(self, trainer):
        self.fail("before_step", trainer)

    def after_step(self, trainer):
        self.fail("after_step", trainer)
        if self.method in ("on_exception", "state_dict") and trainer.iteration == 7:
            self.armed = True
            raise ZeroDivisionError("after_step")

    def after_train(self, trainer):
        self.fail("after_train", trainer)

    def on_exception(self, trainer, error):
        if self.method == "on_exception":
            raise RuntimeError("on_exception")  # logged; the first error is raised

    def state_dict(self):
        if self.method == "state_dict" and self.armed:
            raise ZeroDivisionError("state_dict")
        return {"n": 1}

    def load_state_dict(self, state):
        self.fail("load_state_dict")


@pytest.mark.parametrize(
    "method, at",
    [("before_step", 7), ("after_step", 7), ("after_train", 12), ("on_exception", 7), ("state_dict", 7)],
)
def test_a_hook_that_raises(tmp_path, whole, method, at, caplog):
    hook = Failing(method)
    hook.armed = method != "state_dict"  # else nothing before it is saved, either
    with pytest.raises(ZeroDivisionError):
        make_trainer(tmp_path, extra=[hook]).train()
    path, state = newest_good_checkpoint(tmp_path)
    assert state["iteration"] == at and path == find_last_checkpoint(tmp_path)
    assert ("the state of Failing is not saved: ZeroDivisionError" in caplog.text) == (method == "state_dict")
    assert_same(tmp_path, go_on(tmp_path), whole)


@pytest.mark.parametrize("method", ["before_train", "load_state_dict"])
def test_a_hook_that_raises_before_a_resumed_run_begins(tmp_path, whole, method):
    with pytest.raises(ZeroDivisionError):
        make_trainer(tmp_path, extra=[Failing("before_step")]).train()
    with pytest.raises(ZeroDivisionError):
        go_on(tmp_path, extra=[Failing(method)])
    assert_same(tmp_path, go_on(tmp_path), whole)


def test_a_worker_that_is_killed_does_not_tear_a_step(tmp_path, whole):
    """torch reports it by an error in a signal handler, which is delayed until the step is done."""

    def died(number, frame):
        raise RuntimeError("DataLoader worker is killed")

    before = signal.signal(signal.SIGCHLD, died)
    try:
        trainer = make_trainer(tmp_path)
        step = trainer.optimizer.step

        def signalled(*args, **kwargs):
            if trainer.iteration == 6:
                os.kill(os.getpid(), signal.SIGCHLD)
            return step(*args, **kwargs)

        trainer.optimizer.step = signalled
        with pytest.raises(RuntimeError, match="is killed"):
            trainer.train()
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert read_checkpoint(find_last_checkpoint(tmp_path))["iteration"] == 7
    assert_same(tmp_path, go_on(tmp_path), whole)


def test_nan_weights_are_never_saved(tmp_path):
    class Spoil(Hook):
        def before_step(self, trainer):
            if trainer.iteration == 7:
                trainer.model.layers[0].weight.data.fill_(float("nan"))

    with pytest.raises(ValueError, match="diverged"):
        make_trainer(tmp_path, extra=[Spoil()]).train()
    assert newest_good_checkpoint(tmp_path)[1]["iteration"] == 5
    assert max(line["iteration"] for line in lines(tmp_path)) <= 7
