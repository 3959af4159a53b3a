"""Checkpoints: every few iterations, of the best model, and at an early end."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch

from segkit.engine.checkpoint import (
    BackgroundWriter,
    SavedCheckpoint,
    host_copy,
    name_last_checkpoint,
    periodic_name,
    resume_hint,
    save_checkpoint,
    superseded,
)
from segkit.engine.hooks.evaluation import find_value, to_score, value_text
from segkit.engine.metrics import DivergedError
from segkit.engine.signals import delayed_interrupt
from segkit.engine.train_loop import Hook, TrainerBase
from segkit.engine.train_state import training_state
from segkit.modeling.nonfinite import not_finite_buffers
from segkit.utils import distributed
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


class PeriodicCheckpoint(Hook):
    """Saves ``model_NNNNNNN.pth`` every ``period`` iterations, and ``model_final.pth`` last.

    The file ``last_checkpoint`` names the newest. The training waits for a copy in memory, which a thread writes to the
    disk; an error there ends the run before its next step. If the run ends with an exception or a signal, the state
    that it reached is saved too, provided that it can be resumed: no half-taken step, no parameter, buffer or loss that
    is NaN.

    Args:
        period: in iterations; 0: only at the end.
        keep: number of periodic checkpoints that stay, the latest ones; None: all.
        keep_every: checkpoints after each multiple of this many iterations stay as well; 0: none.
        resume_command: the command that resumes the run, shown to the user after an interruption.
        writer: writes in the background. All hooks that save share one, so that files appear in the order of saving.
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
        self._saved_at: int | None = None  # iteration of the last checkpoint that is on the disk

    def before_train(self, trainer: TrainerBase) -> None:
        self._saved_at = trainer.iteration or None  # a resumed run starts from a checkpoint on the disk

    def before_step(self, trainer: TrainerBase) -> None:
        self.writer.check()

    def after_step(self, trainer: TrainerBase) -> None:
        if not distributed.is_main():
            return
        if trainer.done:
            self._save(trainer, "model_final.pth")
            self.writer.wait()  # nothing is left to do meanwhile, and what follows may name the file
        elif self.period and trainer.iteration % self.period == 0:
            self._save(trainer, periodic_name(trainer.iteration))

    def after_train(self, trainer: TrainerBase) -> None:
        self.writer.wait()

    def on_exception(self, trainer: TrainerBase, error: BaseException) -> None:
        if not distributed.is_main():
            return
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__} ended the run"
        where = f"{reason} after {trainer.iteration} of {trainer.max_iterations} iterations"
        self._finish_writing()
        if not trainer.consistent or not state_is_finite(trainer) or not losses_are_finite(trainer):
            logger.warning("%s; its state was not saved, because training cannot go on from it", where)
        elif trainer.iteration == 0:
            logger.warning("%s; there was nothing to save", where)
        elif trainer.iteration != self._saved_at:
            self._rescue(trainer, where)
        else:
            logger.warning(where)
        if self._saved_at is not None:
            logger.warning("to go on from iteration %d:\n  %s", self._saved_at, self.resume_command)

    def _rescue(self, trainer: TrainerBase, where: str) -> None:
        name = periodic_name(trainer.iteration)
        self._save(trainer, name, rescue=True)
        if self._finish_writing():
            logger.warning("%s; saved %s", where, trainer.output_dir / name)
        else:
            logger.warning("%s; its state could not be saved%s", where, resume_hint(trainer.output_dir))

    def _finish_writing(self) -> bool:
        """Waits for the background writer, and returns whether it succeeded."""
        try:
            self.writer.wait()
        except SegkitError as error:  # the run ends anyway, with another error or with this one
            logger.warning("%s", error)
            return False
        return True

    def _save(self, trainer: TrainerBase, name: str, *, rescue: bool = False) -> None:
        trainer.check_metrics()  # a model of NaN never replaces a good one
        saved = saved_checkpoint(trainer, name)
        path, iteration = saved.path, saved.iteration
        # After an exception the interrupted hook is still pending; otherwise this hook is done with this call.
        pending = [n for n in trainer.pending if rescue or trainer.named_hooks().get(n) is not self]

        def write() -> None:
            save_checkpoint(path, state)
            name_last_checkpoint(path)
            self._saved_at = iteration
            trainer.checkpoints.append(saved)
            logger.info("saved %s", path)
            for old in superseded(path.parent, iteration, self.keep, self.keep_every):
                old.unlink(missing_ok=True)  # after the newer one is on the disk

        with delayed_interrupt():
            self.writer.wait()  # one copy in memory at a time; the state may also refer to the best model's file
            state = host_copy(training_state(trainer, pending, rescue=rescue))
            self.writer.submit(write)


class BestCheckpoint(Hook):
    """Saves ``model_best.pth`` after each evaluation whose ``metric`` is the best so far.

    Args:
        metric: as named in ``metrics.json``; higher is better, except for ``val/loss/...``.
        min_gain: a better metric exceeds the best so far by more than this.
        writer: writes in the background; all hooks that save share one.
    """

    def __init__(self, metric: str, *, min_gain: float = 0.0, writer: BackgroundWriter | None = None) -> None:
        if min_gain < 0:
            raise ValueError(f"min_gain must be 0 or more, got {min_gain}")
        self.metric = metric
        self.min_gain = min_gain
        self.writer = writer or BackgroundWriter()
        self.best = -math.inf
        self.best_iteration = 0
        self._compared = False

    def after_step(self, trainer: TrainerBase) -> None:
        if trainer.evaluated_at != trainer.iteration:
            return
        self._compared = True
        value = find_value(trainer.evaluation, self.metric, "train.best_metric")
        if value is not None and math.isnan(value):
            logger.warning("%s is NaN after iteration %d: no model is saved for it", self.metric, trainer.iteration)
        elif value is not None and to_score(self.metric, value) > self.best + self.min_gain:
            self._save(trainer, to_score(self.metric, value))
            logger.info("best %s so far: %s; saved model_best.pth", self.metric, value_text(self.metric, value))

    def _save(self, trainer: TrainerBase, value: float) -> None:
        trainer.check_metrics()  # a model of NaN never replaces a good one
        if not parameters_are_finite(trainer.model):
            raise SegkitError(f"training diverged: the weights after iteration {trainer.iteration} are NaN or infinite")
        if not distributed.is_main():
            self.best, self.best_iteration = value, trainer.iteration
            return
        before, saved = (self.best, self.best_iteration), saved_checkpoint(trainer, "model_best.pth")

        def write() -> None:
            try:
                save_checkpoint(saved.path, state)
            except BaseException:  # restored, so that the resumed run saves the best model again
                self.best, self.best_iteration = before
                raise
            trainer.checkpoints.append(saved)

        with delayed_interrupt():
            self.writer.wait()
            self.best, self.best_iteration = value, trainer.iteration  # before saving, because the file holds them
            state = host_copy(training_state(trainer, trainer.pending))
            self.writer.submit(write)

    def after_train(self, trainer: TrainerBase) -> None:
        self.writer.wait()
        if not self._compared and trainer.iteration > trainer.start_iteration:
            logger.warning("%s has met no evaluation to compare: it comes after the hook that evaluates", self.name)

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "best": self.best, "best_iteration": self.best_iteration}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state.get("metric", self.metric) != self.metric:
            logger.warning(
                "the best %s so far is not compared with %s: the next is the first", state["metric"], self.metric
            )
            return
        self.best, self.best_iteration = state["best"], state["best_iteration"]


def saved_checkpoint(trainer: TrainerBase, name: str) -> SavedCheckpoint:
    """Returns the record of a checkpoint of the current iteration, before it is written."""
    metrics = dict(trainer.evaluation) if trainer.evaluated_at == trainer.iteration else {}
    return SavedCheckpoint(trainer.output_dir / name, trainer.iteration, metrics)


def losses_are_finite(trainer: TrainerBase) -> bool:
    """Whether all losses since the last line of metrics are finite.

    If one is not, the weights may still be finite, but about to diverge.
    """
    try:
        trainer.metrics.check(trainer.iteration)
    except DivergedError:
        return False
    return True


def state_is_finite(trainer: TrainerBase) -> bool:
    """Whether all parameters and buffers are finite, except buffers that never were."""
    bad = set(not_finite_buffers(trainer.model)) - set(trainer.infinite_buffers)
    return parameters_are_finite(trainer.model) and not bad


def parameters_are_finite(model: torch.nn.Module) -> bool:
    """Whether no parameter is NaN or infinite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())
