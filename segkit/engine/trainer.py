"""The trainer: what an optimizer step does, in order.

The loop around the step is in :mod:`segkit.engine.train_loop`, its arithmetic in :mod:`segkit.engine.train_step`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit.engine.amp import autocast, gradients_overflowed
from segkit.engine.buffer_backup import BufferBackup, any_of
from segkit.engine.data_parallel import ParallelModel
from segkit.engine.ema import EMA
from segkit.engine.metrics import DivergedError, Metrics
from segkit.engine.nonfinite import ADVICE, RepeatableStep, are_finite, late_error
from segkit.engine.signals import delayed_interrupt
from segkit.engine.step_batches import EpochObjects, data_counts
from segkit.engine.train_loop import Hook, TrainerBase
from segkit.engine.train_step import (
    add_losses,
    backward,
    batch_losses,
    digest,
    equal_digests,
    mean_over_processes,
    with_losses_of_all,
)
from segkit.engine.trainer_arguments import check_arguments, check_losses
from segkit.modeling.layers.freezing import eval_frozen
from segkit.modeling.nonfinite import not_finite_buffers
from segkit.solver.clipping import clip_gradients
from segkit.solver.learning_rates import RateWatch, note_last_rates, set_rates, start_from_base_rates
from segkit.solver.optimizers import begin_momentum
from segkit.solver.schedules import Schedule
from segkit.utils import distributed
from segkit.utils.device import choose_device
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


class Trainer(TrainerBase):
    """Trains a model until ``max_iterations`` optimizer steps are done.

    :class:`TrainerBase` has the loop, and lists the attributes.

    Args:
        model: a module with ``losses(images, targets, generator) -> dict of scalars``.
        optimizer: over the model's parameters; its learning rates are the schedule's base rates. A second training
            starts from the same base rates (``initial_lr`` of the groups), unless they were changed in between.
        schedule: returns the factor of the learning rate for each iteration.
        loader: an endless iterable of batches that begins with those of the next iteration; a batch has ``.images``,
            ``.targets`` and ``.to(device, non_blocking)``, and may have ``.samples``.
        accumulate: batches of a step, whose gradients are averaged.
        precision: fp32, bf16 or fp16 (with a loss scaler).
        clip_norm: upper bound of the gradient's norm; None: no bound.
        clip_value: upper bound of each component of the gradient, applied before ``clip_norm``; None: no bound.
        ema_decay: share of the average that a step keeps, see :class:`EMA`; None: no average.
        check_period: losses and gradient are checked before the update of each ``check_period``-th step. A NaN found
            there can be traced to its layer. On a GPU each check waits for the device. A NaN in between is found when
            metrics are written.
        max_skipped: number of steps that may be skipped because a loss or gradient was not finite; it takes a
            ``check_period`` of 1. With fp16 the scaler skips such steps itself, without limit.
        seed: everything random in the k-th batch of step i is a function of (seed, i, k) and the process's rank, so
            that a resumed run repeats it exactly.
        hooks: in the order in which they are called; hooks that keep a state have unique names, see :class:`Hook`.
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
        super().__init__(
            loader, max_iterations=max_iterations, iterations_per_epoch=iterations_per_epoch, epoch_shift=epoch_shift,
            accumulate=accumulate, output_dir=output_dir, metrics=Metrics(allow_overflow=precision == "fp16"),
            hooks=hooks, about=about,
        )  # fmt: skip
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.device = choose_device(device, key="device")
        self.precision = precision
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.ema = EMA(model, ema_decay) if ema_decay is not None else None
        self.check_period = check_period
        self.max_skipped = max_skipped
        self.seed = seed
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.parallel = ParallelModel(model)
        self.buffers = BufferBackup(model)
        self.infinite_buffers = not_finite_buffers(model)
        if bad := [name for name in self.infinite_buffers if name.endswith(("running_mean", "running_var"))]:
            raise SegkitError(
                f"the model's {bad[0]} is NaN or infinite before the first step ({len(bad)} such running statistics): its "
                "weights are those of a training that diverged; start from others"
            )
        self.losses = {}
        self.skipped = 0
        self.epoch_objects = EpochObjects(iterations_per_epoch)
        self._rate_watch = RateWatch()
        self._rates_for: int | None = None  # the iteration whose learning rates are set

    def prepare(self) -> None:
        self._rates_for = None
        self._rate_watch.begin(self.optimizer)
        start_from_base_rates(self.optimizer)
        if self.scaler.is_enabled():
            begin_momentum(self.optimizer)
        self.model.train()
        eval_frozen(self.model)  # a frozen batch norm keeps its statistics
        self.parallel.connect()
        if self.ema is not None:
            self.ema.broadcast()  # it started from this process's own weights

    def finish(self) -> None:
        note_last_rates(self.optimizer)

    def set_learning_rates(self) -> None:
        """Sets the learning rates of the next step, and logs the largest as ``lr``."""
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

    def run_step(self, batches: Iterable[Any]) -> None:
        """Takes one optimizer step: gradients, then the update.

        An exception before the update leaves weights, buffers and counters as they were. One in the update leaves
        ``consistent`` False, and the state is not saved.
        """
        if self._rates_for != self.iteration:  # without the loop; in it they are set already
            self.set_learning_rates()
        self._rate_watch.step(self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)  # not after the step, because hooks may read the gradients
        self.buffers.save()
        try:
            losses = self.compute_gradients(batches)
            counts, losses = self._sum_counts(losses)
            scalars = mean_over_processes({f"loss/{name}": loss for name, loss in losses.items()})
            self.scaler.unscale_(self.optimizer)
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            # The norm is measured even without clipping, since a finite loss may have a NaN gradient.
            scalars["grad_norm"] = clip_gradients(parameters, max_norm=self.clip_norm, max_value=self.clip_value)
            skip = self._is_checked() and not are_finite(scalars)
            if skip:
                self._warn_or_raise_nonfinite(scalars)
        except BaseException:
            self.buffers.restore()
            raise
        with delayed_interrupt():
            self.consistent = False
            if skip:
                self.buffers.restore()  # again, because the forward pass was repeated to find the layer
                self.skipped += 1
            else:
                self._update()
                self.metrics.add(scalars)
            self.iteration += 1
            self.pending = list(self.named_hooks())  # here: Ctrl-C is raised at the end of this block
            self.consistent = True
            self.losses = {name.removeprefix("loss/"): v for name, v in scalars.items() if name.startswith("loss/")}
            self.epoch_objects.add(counts.pop("objects"))
            for name, count in {"skipped_steps": int(skip), **counts}.items():
                self.metrics.count(name, count)

    def compute_gradients(self, batches: Iterable[Any]) -> dict[str, Tensor]:
        """Runs forward and backward pass of the batches; returns mean losses and ``total``.

        With several processes the gradients are the means over all of them, the losses this process's own.
        """
        self.batches = []
        losses: dict[str, Tensor] = {}
        for part, batch in enumerate(batches):
            self.batches.append(batch)
            # Pinned batches are copied asynchronously; for others the flag has no effect.
            self.batch = batch = batch.to(self.device, non_blocking=self.device.type == "cuda")
            with self.parallel.batch(last=part == self.accumulate - 1):
                found = self.batch_losses(batch, self.iteration, part)
                check_losses(found, self.model)
                add_losses(losses, backward(found, self.scaler, self.accumulate))
        return losses

    def batch_losses(self, batch: Any, step: int, part: int) -> dict[str, Tensor]:
        """Returns the losses of batch ``part`` of step ``step``, both counted from 0."""
        position = {"seed": self.seed, "step": step, "part": part, "rank": distributed.rank()}
        return batch_losses(self.parallel.losses, batch, **position, device=self.device, precision=self.precision)

    def _update(self) -> None:
        """Updates the weights and their EMA. Only the device knows yet whether fp16's scaler skips the update."""
        overflowed = gradients_overflowed(self.scaler, self.optimizer)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if overflowed is not None:
            bad_buffers = self.buffers.became_nonfinite()  # also buffers that no loss depends on
            self.buffers.restore(overflowed if bad_buffers is None else any_of([overflowed, bad_buffers]))
        if self.ema is not None:
            self.ema.update(None if overflowed is None else ~overflowed)

    def _sum_counts(self, losses: dict[str, Tensor]) -> tuple[dict[str, int], dict[str, Tensor]]:
        """Sums the step's data counts over all processes; sets ``stopped_together`` if a signal came to one.

        It is the only operation between the hosts after the backward pass. It precedes the update, so that a process
        that died meanwhile is noticed before its missing gradient changes a weight.

        Returns:
            the sums, and ``losses`` with a zero for each loss that only other processes have.
        """
        counts = data_counts(self.batches)
        signal_came = int(any(came() for came in self._signals))
        *totals, signals, x, x_squared = distributed.sum_integers([*counts.values(), signal_came, *digest(losses)])
        self.stopped_together = signals > 0 and distributed.world_size() > 1
        if not equal_digests(x, x_squared):
            losses = with_losses_of_all(losses)
        return dict(zip(counts, totals, strict=True)), losses

    def _is_checked(self) -> bool:
        """Whether this step's losses and gradient are checked before the update; fp16's scaler checks by itself."""
        return (self.iteration + 1) % self.check_period == 0 and not self.scaler.is_enabled()

    def _warn_or_raise_nonfinite(self, scalars: Mapping[str, Tensor]) -> None:
        """Logs a step with a NaN that will be skipped; raises SegkitError if the run must not go on."""
        self.buffers.restore()
        message, weights_finite = self._repeatable(self.iteration, self.batches).explain(scalars)
        if self.skipped < self.max_skipped and weights_finite:
            logger.warning("step skipped (%d of at most %d): %s", self.skipped + 1, self.max_skipped, message)
            return
        self.metrics.add(scalars)  # marks the state as not finite, so that it is not saved
        before = f" after {self.skipped} steps were skipped" if self.skipped else ""
        raise SegkitError(f"training diverged{before}: {message}; {ADVICE}")

    def explain_divergence(self, error: DivergedError) -> SegkitError:
        if self.scaler.is_enabled():  # the scaler has skipped the bad steps, so the weights are finite
            step = self._repeatable(self.iteration - 1, self.batches)
            return step.overflow_error(error)
        first = self.iteration - error.count  # index of the first bad step; all steps after it are bad, too
        return late_error(error, self._repeatable(first, self._load_again(first)))

    def _repeatable(self, step: int, batches: Sequence[Any]) -> RepeatableStep:
        return RepeatableStep(
            self.model, batches, step, device=self.device, losses=self.batch_losses, no_sync=self.parallel.no_sync,
            output_dir=self.output_dir, about={**self.about, "seed": self.seed, "precision": self.precision},
        )  # fmt: skip

    def _load_again(self, step: int) -> list[Any]:
        """Returns the batches of an earlier step, if the loader can load them once more."""
        load = getattr(self.loader, "batches_at", None)
        try:
            return load(step + self.epoch_shift) if load is not None and step >= 0 else []
        except (SegkitError, OSError):
            return []  # the message then names no images

    def autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.precision, self.device)

    def ema_weights(self) -> AbstractContextManager[None]:
        return nullcontext() if self.ema is None else self.ema.in_use()
