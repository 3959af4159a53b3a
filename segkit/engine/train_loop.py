"""The training loop and its hooks: what happens around a training step, in which order."""

from __future__ import annotations

import logging
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segkit.engine.checkpoint import SavedCheckpoint
from segkit.engine.ema import EMA
from segkit.engine.hook_names import named_hooks
from segkit.engine.metrics import DivergedError, Metrics
from segkit.engine.signals import delayed_interrupt, signals_between_steps, stop_signals
from segkit.engine.step_batches import StepBatches
from segkit.engine.trainer_arguments import RenamedAttributes
from segkit.solver.schedules import Schedule
from segkit.structures.score_thresholds import ScoreThresholds
from segkit.utils import distributed
from segkit.utils.errors import RunInterrupted, SegkitError

logger = logging.getLogger(__name__)


class Hook:
    """Something that happens around training steps; override the methods that you need.

    It is registered, takes keyword-only arguments, and is named under ``hooks:`` in the configuration::

        @HOOK_REGISTRY.register
        class GradientNoise(Hook):
            def __init__(self, *, scale: float = 1e-3) -> None:
                self.scale = scale

            def after_step(self, trainer: TrainerBase) -> None:
                trainer.log("noise", self.scale)

    It is called after the default hooks that change or measure the training, and before those that write. If several
    processes train, each calls all hooks. Writing and printing ask ``segkit.utils.distributed.is_main()`` first.

    A checkpoint holds a hook's state under the hook's ``name``, by default the name of its class. Several hooks of one
    class that keep states need names of their own: ``hook.name = "fine"``, or in a configuration
    ``{name: GradientNoise, hook_name: fine, scale: 1e-4}``.
    """

    name: str = "Hook"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = cls.__name__

    def before_train(self, trainer: TrainerBase) -> None:
        """Called once before the first step; in a resumed run the state is restored already."""

    def before_step(self, trainer: TrainerBase) -> None:
        """Called before each step, with the learning rates set and ``iteration`` steps done."""

    def after_step(self, trainer: TrainerBase) -> None:
        """Called after each step, which ``iteration`` counts; once more on resume if interrupted."""

    def after_train(self, trainer: TrainerBase) -> None:
        """Called once after the last step; not if the run ends with an exception."""

    def on_exception(self, trainer: TrainerBase, error: BaseException) -> None:
        """Called instead of ``after_train`` if ``error`` or a signal ends the run, in reverse order."""

    @property
    def keeps_state(self) -> bool:
        """Whether its class has a ``state_dict`` of its own."""
        return type(self).state_dict is not Hook.state_dict

    def state_dict(self) -> dict[str, Any]:
        """Returns the hook's state for a checkpoint: tensors and plain values. Empty: none."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what ``state_dict`` returned, before ``before_train``."""


class TrainerBase(RenamedAttributes, ABC):
    """The training loop without the arithmetic of a step.

    :class:`segkit.engine.trainer.Trainer` adds the step. Hooks get the trainer as an argument. They may use ``log``,
    ``stop``, ``read_metrics``, ``check_metrics``, and these:

    Attributes:
        iteration: number of optimizer steps done: 0 before the first, 1 in the ``after_step`` of the first.
        max_iterations, start_iteration: steps of the run; those done when this process began (above 0 in a resumed run).
        iterations_per_epoch, epoch: steps in a pass over the training data, and number of complete passes.
        epoch_shift: added to ``iteration`` for epochs, schedule and loader; see :func:`segkit.engine.resume.epoch_shift`.
        model: in training mode during a step; a hook that changes the mode changes it back.
        optimizer: torch's; ``before_step`` finds its groups' ``lr`` set to the schedule's.
        batch: the step's batch on the device, only during a step; with accumulation the latest one.
        losses: the last step's losses by name, and their sum as ``total``: detached scalars on the device, means over
            accumulated batches and processes. Reading one waits for the device, so read seldom.
        device, precision: of the forward pass, whose context is ``trainer.autocast()``.
        ema: the moving average of the weights, or None. Within ``trainer.ema_weights()`` the model has the average.
        skipped: number of steps of the run that were skipped because a loss or gradient was not finite.
        output_dir, data_time: the run's folder; seconds that the last step waited for its batches.
        evaluation, evaluated_at, score_thresholds: the last evaluation's metrics, iteration and best thresholds (or None).
        checkpoints, pictures: files that this process has written, in their order.
        about: added to checkpoints: config, classes, category_ids.
    """

    model: Any  # an nn.Module with ``losses`` and ``predict``
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    scaler: torch.amp.GradScaler
    ema: EMA | None
    device: torch.device
    precision: str
    losses: dict[str, Tensor]
    skipped: int
    infinite_buffers: list[str]  # names of buffers that may be infinite, as a mask of minus infinity

    def __init__(
        self,
        loader: Iterable[Any],
        *,
        max_iterations: int,
        iterations_per_epoch: int,
        epoch_shift: int,
        accumulate: int,
        output_dir: str | Path,
        metrics: Metrics,
        hooks: Sequence[Hook],
        about: Mapping[str, Any] | None,
    ) -> None:
        self.loader = loader
        self.max_iterations = max_iterations
        self.iterations_per_epoch = iterations_per_epoch
        self.epoch_shift = epoch_shift
        self.accumulate = accumulate
        self.output_dir = Path(output_dir).expanduser()
        self.metrics = metrics
        self.hooks = list(hooks)
        named_hooks(self.hooks)  # raises if two names are equal
        self.about = dict(about or {})
        self.iteration = self.start_iteration = 0
        self.batch: Any = None
        self.batches: list[Any] = []  # the current step's batches so far, on the loader's device
        self.evaluation: dict[str, float] = {}
        self.evaluated_at: int | None = None
        self.score_thresholds: ScoreThresholds | None = None
        self.checkpoints: list[SavedCheckpoint] = []
        self.pictures: list[Path] = []
        self.pending: list[str] = []  # hooks whose after_step is due for this iteration
        self.consistent = True  # False while a step changes weights and counters; such a state must not be saved
        self.line_read = False  # whether the current hook has read the metrics
        self.stopped_together = False  # whether all processes end after the same step
        self._step_batches = StepBatches(loader, accumulate, start=0)
        self._signals: Sequence[Callable[[], bool]] = ()  # whether a signal waits for the end of the step
        self._stopping = False

    def train(self) -> None:
        """Trains up to ``max_iterations``; notifies the hooks of an exception and raises it.

        Raises RunInterrupted after SIGINT or SIGTERM, which interrupt hooks and the wait for a batch, but no step.
        """
        self.start_iteration, self._stopping, self.stopped_together = self.iteration, False, False
        if self.done and not self.pending:
            logger.warning("nothing to train: %d of %d iterations are done", self.iteration, self.max_iterations)
        self.prepare()
        with stop_signals() as raise_missed_signal:
            try:
                with signals_between_steps() as signal_held:
                    self._run(raise_missed_signal, signal_held)
            except BaseException as error:
                self.notify_exception(error)
                if self.stopped_together:
                    distributed.barrier()  # else the launcher would kill the saving process once another one has ended
                raise
            finally:
                self._step_batches.close()
                self.finish()

    def _run(self, raise_missed_signal: Callable[[], None], signal_held: Callable[[], bool]) -> None:
        for hook in self.hooks:
            hook.before_train(self)
        self._after_step()  # the pending hooks of a run that was interrupted between two steps
        self._step_batches = StepBatches(self.loader, self.accumulate, start=self.iteration + self.epoch_shift)
        while not self.done:
            batches = self._step_batches.of_next_step(f"iteration {self.iteration + 1} of {self.max_iterations}")
            self.set_learning_rates()
            for hook in self.hooks:
                hook.before_step(self)
            with delayed_interrupt() as interrupted:
                self._signals = (interrupted, signal_held)
                self.run_step(batches)
                if self.stopped_together:
                    raise RunInterrupted(signal.SIGTERM)
            self._after_step()
            self.batch, self.batches = None, []
            raise_missed_signal()
        self.check_metrics()  # the losses since the last line, which no hook may have read
        for hook in self.hooks:
            hook.after_train(self)

    def _after_step(self) -> None:
        """Calls ``after_step`` of the pending hooks and takes each off the list."""
        for name, hook in self.named_hooks().items():
            if name not in self.pending:
                continue
            self.line_read = False
            hook.after_step(self)
            if not self.line_read:
                self.pending.remove(name)
                continue
            with delayed_interrupt():  # a line is cleared if and only if its hook will not run again
                self.pending.remove(name)
                self.metrics.clear()

    def notify_exception(self, error: BaseException) -> None:
        """Calls the hooks' ``on_exception`` in reverse order: the checkpoint is written first."""
        for hook in reversed(self.hooks):
            try:
                hook.on_exception(self, error)
            except Exception:  # logged only: the first error is the one to raise
                logger.exception("%s failed while the run was ending with %r", type(hook).__name__, error)

    def prepare(self) -> None:
        """Called once before the hooks' ``before_train``."""

    def finish(self) -> None:
        """Called once at the end, after an exception too."""

    @abstractmethod
    def set_learning_rates(self) -> None:
        """Sets those of the next step."""

    @abstractmethod
    def run_step(self, batches: Iterable[Any]) -> None:
        """Takes one optimizer step: losses, gradients, update. Makes all hooks pending."""

    @abstractmethod
    def autocast(self) -> AbstractContextManager[Any]:
        """Returns the context for a forward pass in the run's precision."""

    @abstractmethod
    def ema_weights(self) -> AbstractContextManager[None]:
        """Returns the context to evaluate in: the model has the EMA weights, if there are any."""

    def explain_divergence(self, error: DivergedError) -> SegkitError:
        """Returns the error to raise for losses that were found to be NaN after their steps."""
        return error

    @property
    def data_time(self) -> float:
        return self._step_batches.seconds

    @property
    def epoch(self) -> int:
        return (self.iteration + self.epoch_shift) // self.iterations_per_epoch

    @property
    def done(self) -> bool:
        """Whether no step will follow; true in the ``after_step`` of the last."""
        return self._stopping or self.iteration >= self.max_iterations

    def stop(self) -> None:
        """Makes the current step the last one: hooks later in the order do what they do at the end."""
        self._stopping = True

    def named_hooks(self) -> dict[str, Hook]:
        """Returns the hooks by the names that checkpoints use for them."""
        return named_hooks(self.hooks)

    def log(self, name: str, value: float | Tensor) -> None:
        """Adds a metric to the next line; a scalar tensor is read only when the line is written."""
        self.metrics.log(name, value)

    def read_metrics(self) -> dict[str, float]:
        """Returns the line of metrics for this iteration; for the hook that calls the writers.

        The next line starts when the calling hook's ``after_step`` has returned: a hook that was interrupted gets the
        same line once more.
        """
        epoch = (self.iteration + self.epoch_shift) / self.iterations_per_epoch
        record = {"iteration": self.iteration, "epoch": epoch, **self._explained(self.metrics.peek)}
        if self.metrics.overflowed:
            record["overflowed_steps"] = self.metrics.overflowed
        self.line_read = True
        return record

    def check_metrics(self) -> dict[str, float]:
        """Returns the means of the losses so far; raises SegkitError if one is not finite."""
        return self._explained(self.metrics.check)

    def _explained(self, look: Callable[[int], dict[str, float]]) -> dict[str, float]:
        try:
            return look(self.iteration)
        except DivergedError as error:
            raise self.explain_divergence(error) from error
