"""The training loop. What happens around a step is a hook's, see :mod:`segkit.engine.hooks`."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from segkit.engine.averaging import AveragedWeights
from segkit.engine.buffers import BufferCopies
from segkit.engine.epoch_objects import EpochObjects
from segkit.engine.hook_calls import call_after_step, named_hooks, tell_of_end
from segkit.engine.interrupt import delayed_interrupt, signals_between_steps, stop_signals
from segkit.engine.metrics import DivergedError, Metrics
from segkit.engine.nonfinite import explain_late
from segkit.engine.precision import autocast
from segkit.engine.run_step import run_step
from segkit.engine.step import batch_losses
from segkit.engine.step_batches import step_batches
from segkit.engine.trainer_arguments import check_arguments
from segkit.modeling.layers.freezing import eval_frozen
from segkit.modeling.nonfinite import not_finite_buffers
from segkit.solver.learning_rates import RateWatch, note_last_rates, set_rates, start_from_base_rates
from segkit.solver.optimizers import begin_momentum
from segkit.solver.schedules import Schedule
from segkit.utils import distributed
from segkit.utils.device import choose_device
from segkit.utils.errors import RunInterrupted, SegkitError

if TYPE_CHECKING:
    from segkit.engine.hooks.base import Hook

logger = logging.getLogger(__name__)


class Trainer:
    """Takes steps until ``max_iterations`` of them are done.

    Hooks get the trainer as the argument of each of their methods. These attributes are theirs to use:

    Attributes:
        iteration: how many optimizer steps are done: 0 before the first, 1 in the ``after_step`` of the first.
        max_iterations: how many there will be.
        start_iteration: how many were done when this process began; above 0 in a resumed run.
        iterations_per_epoch: steps in a pass over the training data.
        epoch: how many such passes are complete.
        epoch_shift: what is added to ``iteration`` for epochs, schedule and loader: not 0 in a run that was resumed with
            other steps, see :func:`segkit.engine.resume.epoch_shift`.
        model: in training mode during a step; a hook that changes the mode changes it back.
        optimizer: torch's; before the hooks' ``before_step`` its groups' ``lr`` is set to the schedule's.
        batch: the step's batch, on the device, and only during a step; of accumulated ones, the last so far.
        losses: the last step's losses by name, with their sum as ``total``: detached scalars on the device, means over
            accumulated batches. Reading one on the host waits for the device, so do that seldom.
        device, precision: what the arithmetic runs on and in; ``trainer.autocast()`` is the context for a forward pass.
        averaged: the moving average of the weights, or None; ``trainer.averaged_weights()`` is the context in which the
            model has them.
        skipped: steps of the run left out because something in them was not finite.
        output_dir: the run's folder.
        data_time: seconds that the last step waited for its batches.
        evaluation, evaluated_at: the last evaluation's metrics, and after which iteration it was made (None: not yet).
        about: what checkpoints say of the run beside its state: config, classes, category_ids.

    ``trainer.log(name, value)`` puts a number into the next line of metrics. ``trainer.stop()`` ends the run after the
    present step as if it had been the last.

    Args:
        model: anything with ``losses(images, targets, generator) -> dict of scalars``.
        optimizer: over the model's parameters; its learning rates are the schedule's base. A second training with it
            starts from the same ones (``initial_lr`` of its groups), unless they are set anew in between.
        schedule: gives the learning rate of each iteration, with any hooks or none.
        loader: an endless iterable of batches that begins with those of the first iteration to come; a batch has
            ``.images``, ``.targets`` and ``.to(device, non_blocking)``, and may have ``.samples``.
        accumulate: batches a step, whose gradients are averaged.
        precision: fp32, bf16 or fp16 (with a loss scaler).
        clip_norm: the gradient is scaled down to this norm where it is longer; None: not.
        clip_value: each component of the gradient is cut to at most this, before its norm is; None: not.
        ema_decay: share of the averaged weights that a step keeps, see :class:`AveragedWeights`; None: no average.
        check_period: every so many steps the losses are looked at before the optimizer's step, which a NaN ends while its
            layer can still be named; on a GPU each look waits for it. A NaN in between is found when metrics are written.
        max_skipped: so many steps whose losses or gradients are not finite are left out instead of ending the run; it
            takes a ``check_period`` of 1. With fp16 the scaler leaves out such steps, and their number is not limited.
        seed: all that is random in the k-th batch of step i is a function of (seed, i, k) and the number of the process
            alone, so that a resumed run repeats it exactly.
        hooks: in the order in which they are called; those that keep a state have names of their own, see :class:`Hook`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        loader: Iterable[Any],
        *,
        max_iterations: int,
        iterations_per_epoch: int,
        epoch_shift: int = 0,
        output_dir: str | Path,
        device: torch.device | str = "cpu",
        accumulate: int = 1,
        precision: str = "fp32",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        ema_decay: float | None = None,
        check_period: int = 1,
        max_skipped: int = 0,
        seed: int = 0,
        hooks: Sequence[Hook] = (),
        about: Mapping[str, Any] | None = None,
    ) -> None:
        check_arguments(
            model, optimizer, schedule, hooks, precision=precision, check_period=check_period, max_skipped=max_skipped,
            clip_norm=clip_norm, clip_value=clip_value, accumulate=accumulate, seed=seed, epoch_shift=epoch_shift,
            max_iterations=max_iterations, iterations_per_epoch=iterations_per_epoch,
        )  # fmt: skip
        self.model: Any = model  # an nn.Module with ``losses`` and ``predict``
        self.optimizer = optimizer
        self.schedule = schedule
        self.loader = loader
        self.max_iterations = max_iterations
        self.iterations_per_epoch = iterations_per_epoch
        self.epoch_shift = epoch_shift
        self.output_dir = Path(output_dir).expanduser()
        self.device = choose_device(device, key="device")
        self.accumulate = accumulate
        self.precision = precision
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.averaged = AveragedWeights(model, ema_decay) if ema_decay is not None else None
        self.check_period = check_period
        self.max_skipped = max_skipped
        self.seed = seed
        self.hooks = list(hooks)
        named_hooks(self.hooks)  # says so where two could not be told apart
        self.about = dict(about or {})
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.metrics = Metrics(allow_overflow=precision == "fp16")
        self.epoch_objects = EpochObjects(iterations_per_epoch)
        self.iteration = 0
        self.start_iteration = 0
        self.losses: dict[str, Tensor] = {}
        self.batch: Any = None
        self.batches: list[Any] = []  # all of the present step so far, where the loader has put them
        self.skipped = 0
        self.data_time = 0.0
        self.evaluation: dict[str, float] = {}
        self.evaluated_at: int | None = None
        self.pending: list[str] = []  # hooks whose after_step has still to run (or to run again) for this iteration
        self.sound = True  # False while a step is half taken
        self.buffers = BufferCopies(model)
        self.infinite_buffers = not_finite_buffers(model)  # constants as a mask of minus infinity, which may stay so
        if bad := [name for name in self.infinite_buffers if name.endswith(("running_mean", "running_var"))]:
            raise SegkitError(
                f"the model's {bad[0]} is NaN or infinite before the first step ({len(bad)} such running statistics): its "
                "weights are those of a training that diverged; start from others"
            )
        self._rate_watch = RateWatch()
        self._rates_for: int | None = None  # the iteration whose learning rates are set
        self._stopping = False
        self._stopped_together = False  # whether all processes end after the same step
        self.line_read = False  # whether the present hook has read the metrics

    @property
    def epoch(self) -> int:
        return (self.iteration + self.epoch_shift) // self.iterations_per_epoch

    def train(self) -> None:
        """Runs from ``iteration`` to ``max_iterations``; after an exception the hooks are told before it is raised.

        Raises:
            RunInterrupted: SIGINT or SIGTERM came. It ends hooks and the wait for a batch, but no step.
        """
        self.start_iteration, self._rates_for, self._stopping = self.iteration, None, False
        if self.done and not self.pending:
            logger.warning("nothing to train: %d of %d iterations are done", self.iteration, self.max_iterations)
        self._rate_watch.begin(self.optimizer)
        start_from_base_rates(self.optimizer)
        if self.scaler.is_enabled():
            begin_momentum(self.optimizer)
        self.model.train()
        eval_frozen(self.model)  # a frozen batch norm keeps its statistics
        distributed.broadcast_tensors([*self.model.parameters(), *self.model.buffers()])
        if self.averaged is not None:
            self.averaged.share()  # it began with this process's own weights
        with stop_signals() as check_signals:
            try:
                with signals_between_steps() as held:
                    self._run(check_signals, held)
            except BaseException as error:
                tell_of_end(self, error)
                if self._stopped_together:
                    distributed.barrier()  # or a launcher ends the one that saves when the first one ends
                raise
            finally:
                note_last_rates(self.optimizer)

    def _run(self, check_signals: Callable[[], None], held: Callable[[], bool]) -> None:
        for hook in self.hooks:
            hook.before_train(self)
        call_after_step(self)  # where a run was interrupted between a step and the next
        for batches in step_batches(self):
            self._set_learning_rates()
            for hook in self.hooks:
                hook.before_step(self)
            with delayed_interrupt() as interrupted:
                self.run_step(batches)
                self._stop_together(interrupted() or held())
            call_after_step(self)
            check_signals()
        self.check_metrics()  # of the steps since the last line, which no hook may have looked at
        for hook in self.hooks:
            hook.after_train(self)

    def run_step(self, batches: Iterable[Any]) -> None:
        """Forward and backward with each of the step's batches, then the optimizer's step."""
        if self._rates_for != self.iteration:  # called by itself; in a training a hook may have changed them since
            self._set_learning_rates()
        self._rate_watch.step(self.optimizer)
        run_step(self, batches)

    def _set_learning_rates(self) -> None:
        """Sets those of the step to come, and logs the largest as ``lr``."""
        self._rate_watch.check(self.optimizer)
        largest = set_rates(
            self.optimizer,
            self.schedule,
            iteration=self.iteration + self.epoch_shift,
            total_iterations=self.max_iterations + self.epoch_shift,
            iterations_per_epoch=self.iterations_per_epoch,
            steps=self.iteration,
        )
        self._rates_for = self.iteration
        self._rate_watch.begin(self.optimizer)
        self.log("lr", largest)

    def _stop_together(self, interrupted: bool) -> None:
        """Ends the run in all processes where a signal came to one of them during the step."""
        if distributed.world_size() > 1 and any(distributed.sum_numbers([interrupted])):
            self._stopped_together = True
            raise RunInterrupted(signal.SIGTERM)

    def batch_losses(self, batch: Any, step: int, part: int) -> dict[str, Tensor]:
        """The losses of batch number ``part`` of step number ``step`` (both from 0), which is on the device."""
        place = {"seed": self.seed, "step": step, "part": part, "rank": distributed.rank()}
        return batch_losses(self.model, batch, **place, device=self.device, precision=self.precision)

    def autocast(self) -> Any:
        """The context for a forward pass in the run's precision."""
        return autocast(self.precision, self.device)

    def log(self, name: str, value: float | Tensor) -> None:
        """Puts a number into the next line of metrics; a scalar tensor is read only then."""
        self.metrics.log(name, value)

    def read_metrics(self) -> dict[str, float]:
        """The line of metrics for this iteration, as numbers. The next line starts when the calling hook's ``after_step``
        is over: interrupted in between, it gets the same line once more. For the writers' hook.
        """
        epoch = (self.iteration + self.epoch_shift) / self.iterations_per_epoch
        record = {"iteration": self.iteration, "epoch": epoch, **self._explained(self.metrics.peek)}
        if self.metrics.overflowed:  # fp16's scaler left these out
            record["overflowed_steps"] = self.metrics.overflowed
        self.line_read = True
        return record

    def check_metrics(self) -> dict[str, float]:
        """The means of the losses so far, without forgetting them; before saving: a model of NaN is worth nothing.

        Raises:
            SegkitError: a loss was NaN or infinite; it says in which iteration and what is known of the cause.
        """
        return self._explained(self.metrics.check)

    def averaged_weights(self) -> AbstractContextManager[None]:
        """The context in which the model has the averaged weights, where there are any: to evaluate in."""
        return nullcontext() if self.averaged is None else self.averaged.in_use()

    def stop(self) -> None:
        """Makes the present step the last one: the hooks that come later in the order do what they do at the end."""
        self._stopping = True

    @property
    def done(self) -> bool:
        """Whether no step will follow: in ``after_step`` it tells the last one."""
        return self._stopping or self.iteration >= self.max_iterations

    def named_hooks(self) -> dict[str, Hook]:
        """The hooks by the names that checkpoints have for them."""
        return named_hooks(self.hooks)

    def _explained(self, look: Callable[[int], dict[str, float]]) -> dict[str, float]:
        try:
            return look(self.iteration)
        except DivergedError as error:
            raise explain_late(self, error) from error
