"""Saving the run, also when it ends before its time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from segkit.engine.checkpoint import (
    BackgroundWriter,
    host_copy,
    last_good,
    name_last_checkpoint,
    periodic_name,
    save_checkpoint,
    superseded,
)
from segkit.engine.hooks.base import Hook
from segkit.engine.interrupt import delayed_interrupt
from segkit.engine.metrics import DivergedError
from segkit.engine.train_state import training_state
from segkit.modeling.nonfinite import not_finite_buffers
from segkit.utils import distributed
from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer

logger = logging.getLogger(__name__)


class PeriodicCheckpoint(Hook):
    """Saves ``model_NNNNNNN.pth`` every ``period`` iterations and ``model_final.pth`` after the last.

    ``last_checkpoint`` names the newest. The training waits for a copy in memory, which is then written beside it; an
    error in that ends the run before its next step. When the run ends with an exception or a signal, what was reached
    is saved too, if it can be resumed: no half-taken step, no parameter, buffer or loss that is NaN.

    Args:
        period: in iterations; 0: only at the end.
        keep: how many periodic checkpoints stay, the latest; None: all.
        keep_every: those after each multiple of so many iterations stay beside them; 0: none.
        resume_command: what to tell the user to type after an interruption.
        writer: writes in the background; one for all that saves, so that files appear in the order of their saving.
    """

    def __init__(
        self,
        period: int,
        *,
        keep: int | None = None,
        keep_every: int = 0,
        resume_command: str | None = None,
        writer: BackgroundWriter | None = None,
    ) -> None:
        if keep_every and (not period or keep_every % period):
            raise SegkitError(
                f"train.keep_every: {keep_every} iterations is no multiple of the {period} of train.checkpoint_period, "
                "after which there is a checkpoint to keep",
                key="train.keep_every",
                value=keep_every,
            )
        self.period = period
        self.keep = keep
        self.keep_every = keep_every
        self.resume_command = resume_command or "run it again with resume=True (--resume)"
        self.writer = writer or BackgroundWriter()
        self._saved_at: int | None = None  # the iteration of the last checkpoint that is safe on the disk

    def before_train(self, trainer: Trainer) -> None:
        self._saved_at = trainer.iteration or None  # a resumed run has been read from a file

    def before_step(self, trainer: Trainer) -> None:
        self.writer.check()

    def after_step(self, trainer: Trainer) -> None:
        if not distributed.is_main():
            return
        if trainer.done:
            self._save(trainer, "model_final.pth")
        elif self.period and trainer.iteration % self.period == 0:
            self._save(trainer, periodic_name(trainer.iteration))

    def after_train(self, trainer: Trainer) -> None:
        self.writer.wait()

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        if not distributed.is_main():
            return
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__} ended the run"
        where = f"{reason} after {trainer.iteration} of {trainer.max_iterations} iterations"
        self._finish_writing()
        if not trainer.sound or not state_is_finite(trainer) or not losses_are_finite(trainer):
            logger.warning("%s; its state was not saved, for it is not one to go on from", where)
        elif trainer.iteration == 0:
            logger.warning("%s; there was nothing to save", where)
        elif trainer.iteration != self._saved_at:
            self._rescue(trainer, where)
        else:
            logger.warning(where)
        if self._saved_at is not None:
            logger.warning("to go on from iteration %d:\n  %s", self._saved_at, self.resume_command)

    def _rescue(self, trainer: Trainer, where: str) -> None:
        name = periodic_name(trainer.iteration)
        self._save(trainer, name, rescue=True)
        if self._finish_writing():
            logger.warning("%s; saved %s", where, trainer.output_dir / name)
        else:
            logger.warning("%s; its state could not be saved%s", where, last_good(trainer.output_dir))

    def _finish_writing(self) -> bool:
        """Waits for what is being written; whether that went well."""
        try:
            self.writer.wait()
        except SegkitError as error:  # the run is ending already, with an error of its own or with this one
            logger.warning("%s", error)
            return False
        return True

    def _save(self, trainer: Trainer, name: str, *, rescue: bool = False) -> None:
        trainer.check_metrics()  # never a model of NaN over one that was good
        path, iteration = trainer.output_dir / name, trainer.iteration
        # In a rescue, the hook that was interrupted runs once more; else this one is done with this.
        pending = [n for n in trainer.pending if rescue or trainer.named_hooks().get(n) is not self]

        def write() -> None:
            save_checkpoint(path, state)
            name_last_checkpoint(path)
            self._saved_at = iteration
            logger.info("saved %s", path)
            for old in superseded(path.parent, iteration, self.keep, self.keep_every):
                old.unlink(missing_ok=True)  # only now that the newer one is safe on the disk

        with delayed_interrupt():
            self.writer.wait()  # or there would be two copies in memory; the state may hold that the best was saved
            state = host_copy(training_state(trainer, pending, rescue=rescue))
            self.writer.submit(write)


def losses_are_finite(trainer: Trainer) -> bool:
    """Whether no loss since the last write was NaN or infinite: finite weights may have been on their way there."""
    try:
        trainer.metrics.check(trainer.iteration)
    except DivergedError:
        return False
    return True


def state_is_finite(trainer: Trainer) -> bool:
    """Whether no parameter and no buffer is NaN or infinite, but for buffers that were from the start."""
    bad = set(not_finite_buffers(trainer.model)) - set(trainer.infinite_buffers)
    return parameters_are_finite(trainer.model) and not bad


def parameters_are_finite(model: torch.nn.Module) -> bool:
    """Whether no parameter is NaN or infinite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())
