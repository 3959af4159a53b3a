"""Functions that run in several processes, in which a signal comes to some or some die."""

import os
import signal

from fakes import FakeModel
from processes import Merging, a_trainer

from segkit.engine.hooks import Hook
from segkit.utils import distributed


class Act(FakeModel):
    """Calls ``action`` in the third step of one process."""

    def __init__(self, action, actor):
        super().__init__()
        self.action, self.actor = action, actor

    def losses(self, images, targets, generator):
        losses = super().losses(images, targets, generator)
        if self.calls == 3 and distributed.rank() == self.actor:
            self.action()
        return losses


def act(folder, action, actor=1):
    trainer = a_trainer(folder, model=Act(action, actor), val=False)
    try:
        trainer.train()
    except BaseException as error:
        return type(error).__name__, str(error), trainer.iteration
    return "no error"


class ActInBackward(Act):
    """Calls ``action`` in the backward pass of the third step of one process."""

    def losses(self, images, targets, generator):
        losses = FakeModel.losses(self, images, targets, generator)
        if self.calls == 3 and distributed.rank() == self.actor:
            losses["fit"].register_hook(lambda gradient: self.action())
        return losses


def fail(folder, model, action, settings):
    """Leaves the error to end the process, as in a program."""
    a_trainer(folder, model=model(action, 1), val=False, **settings).train()


def raise_error():
    raise RuntimeError("mistake in the model")


class SignalledBetweenSteps(Hook):
    """SIGTERM comes to the second process before its third step; its loader has begun to watch workers, as torch's does."""

    def before_train(self, trainer):
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def before_step(self, trainer):
        if trainer.iteration == 2 and not distributed.is_main():
            signal.raise_signal(signal.SIGTERM)


def signal_between_steps(folder):
    trainer = a_trainer(folder, val=False, extra=[SignalledBetweenSteps()])
    try:
        trainer.train()
    except BaseException as error:
        return type(error).__name__, str(error), trainer.iteration
    return "no error"


class InterruptedEvaluation(Merging):
    """SIGTERM comes to both processes while the first one evaluates and the other waits for it."""

    def evaluate(self):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal ends it")

    def results(self):
        if not distributed.is_main():
            os.kill(os.getpid(), signal.SIGTERM)
        return super().results()


def interrupt_evaluation(folder):
    trainer = a_trainer(folder, iterations=2, evaluators=[InterruptedEvaluation()])
    trainer.train()
