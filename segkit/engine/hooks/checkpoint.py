"""Saving the run, also when it ends before its time."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from segkit.engine.checkpoint import name_last_checkpoint, save_checkpoint, training_state
from segkit.engine.hooks.base import Hook
from segkit.engine.interrupt import delayed_interrupt
from segkit.engine.metrics import DivergedError

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer

logger = logging.getLogger(__name__)


class PeriodicCheckpoint(Hook):
    """Saves ``model_NNNNNNN.pth`` every ``period`` iterations and ``model_final.pth`` after the last.

    ``last_checkpoint`` names the newest. When the run ends with an exception or Ctrl-C, what was reached is saved too,
    if it can be resumed: no half-taken step, no parameter or loss that is NaN.

    Args:
        period: in iterations; 0: only at the end.
        keep: how many periodic checkpoints stay, the latest; None: all.
        resume_command: what to tell the user to type after an interruption.
    """

    def __init__(self, period: int, *, keep: int | None = None, resume_command: str | None = None) -> None:
        self.period = period
        self.keep = keep
        self.resume_command = resume_command or "run it again with resume=True (--resume)"
        self.saved: list[str] = []  # periodic files of this run, oldest first
        self._saved_at: int | None = None

    def before_train(self, trainer: Trainer) -> None:
        self._saved_at = trainer.iteration or None  # a resumed run has been read from a file

    def after_step(self, trainer: Trainer) -> None:
        if trainer.done:
            self._save(trainer, trainer.output_dir / "model_final.pth")
        elif self.period and trainer.iteration % self.period == 0:
            self._save_periodic(trainer)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__} ended the run"
        where = f"{reason} after {trainer.iteration} of {trainer.max_iterations} iterations"
        if not trainer.sound or not parameters_are_finite(trainer.model) or not losses_are_finite(trainer):
            logger.warning("%s; its state was not saved, for it is not one to go on from", where)
        elif trainer.iteration == 0:
            logger.warning("%s; there was nothing to save", where)
        elif trainer.iteration != self._saved_at:
            self._save_periodic(trainer, trainer.pending)
            logger.warning("%s; saved %s", where, trainer.output_dir / self.saved[-1])
        else:
            logger.warning(where)
        if self._saved_at is not None:
            logger.warning("to go on from iteration %d:\n  %s", self._saved_at, self.resume_command)

    def _save_periodic(self, trainer: Trainer, pending: list[str] | None = None) -> None:
        name = f"model_{trainer.iteration:07d}.pth"
        before, dropped = self.saved, list[str]()
        self.saved = [old for old in before if old != name] + [name]  # before the save, for the file holds it
        if self.keep is not None:
            self.saved, dropped = self.saved[-self.keep :], self.saved[: -self.keep]
        try:
            self._save(trainer, trainer.output_dir / name, pending)
        except BaseException:
            if self._saved_at != trainer.iteration:  # else a Ctrl-C that waited for the end of the save
                self.saved = before
            raise
        for old in dropped:  # only once the newer one is safe on the disk
            (trainer.output_dir / old).unlink(missing_ok=True)

    def _save(self, trainer: Trainer, path: Path, pending: list[str] | None = None) -> None:
        trainer.check_metrics()  # never a model of NaN over one that was good
        with delayed_interrupt():
            save_checkpoint(path, training_state(trainer, pending or ()))
            name_last_checkpoint(path)
            self._saved_at = trainer.iteration
        logger.info("saved %s", path)

    def state_dict(self) -> dict[str, Any]:
        return {"saved": list(self.saved)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.saved = list(state["saved"])


def losses_are_finite(trainer: Trainer) -> bool:
    """Whether no loss since the last write was NaN or infinite: finite weights may have been on their way there."""
    try:
        trainer.metrics.check(trainer.iteration)
    except DivergedError:
        return False
    return True


def parameters_are_finite(model: torch.nn.Module) -> bool:
    """Whether no parameter is NaN or infinite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())
