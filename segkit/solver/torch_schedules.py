"""Any learning rate scheduler of torch's as a schedule: a function of the iteration, followed on a single number."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LRScheduler

from segkit.registry import SCHEDULE_REGISTRY
from segkit.solver.schedules import Schedule
from segkit.utils.components.adapter import component_like
from segkit.utils.components.dotted_path import locate_class
from segkit.utils.components.signature import signature_of
from segkit.utils.errors import SegkitError

PLACE = "torch.optim.lr_scheduler"
# Parameters that are the length of the run where nobody says otherwise.
LENGTHS = ("total_steps", "T_max")


class TorchSchedule(Schedule):
    """The rates of a torch scheduler, stepped after each iteration (or each epoch), as factors of the base rate.

    The scheduler runs on an optimizer of its own with one group of the base learning rate, from the first iteration on: the
    factor of an iteration is the same in a resumed run. It sets learning rates only; momentum stays as it is.

    Args:
        cls: the scheduler's class.
        arguments: without the optimizer.
        step: what the scheduler counts.
        warmup_iterations: see :class:`Schedule`.
        warmup_factor: see :class:`Schedule`.
    Raises:
        SegkitError: the scheduler refuses its arguments, or changes the momentum.
    """

    def __init__(
        self,
        cls: type[LRScheduler],
        arguments: Mapping[str, Any],
        *,
        step: Literal["iteration", "epoch"] = "iteration",
        warmup_iterations: int = 0,
        warmup_factor: float = 0.001,
    ) -> None:
        super().__init__(warmup_iterations=warmup_iterations, warmup_factor=warmup_factor)
        if step not in ("iteration", "epoch"):
            raise ValueError(f"step must be 'iteration' or 'epoch', got {step!r}")
        if arguments.get("cycle_momentum"):
            raise SegkitError(
                "cycle_momentum: schedules set the learning rate only; leave it out, or set it to false",
                key="cycle_momentum",
            )
        self.cls, self.arguments, self.step = cls, dict(arguments), step
        self._courses: dict[tuple[float, int], _Course] = {}
        _Course(cls, self.arguments, base_lr=1e-3, length=10)  # so that mistakes are told before the run starts

    def shape(self, iteration: int, total_iterations: int, iterations_per_epoch: int, base_lr: float) -> float:
        if base_lr == 0:
            return 1.0
        count, length = iteration, total_iterations
        if self.step == "epoch":
            count, length = iteration // iterations_per_epoch, math.ceil(total_iterations / iterations_per_epoch)
        # A group's rate was multiplied by its factor and is divided by it again: in its last bit it may be another.
        rate = float(f"{base_lr:.12g}")
        course = self._courses.get((rate, length))
        if course is None:
            course = self._courses[rate, length] = _Course(self.cls, self.arguments, base_lr=rate, length=length)
            course.check_length()
        return course.rate(count) / rate

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_courses": {}}  # a scheduler wraps its optimizer's methods and cannot be pickled


class _Course:
    """The learning rates of a scheduler, one a step, worked out as far as somebody has asked."""

    def __init__(self, cls: type[LRScheduler], arguments: Mapping[str, Any], *, base_lr: float, length: int) -> None:
        self.name, self.length = cls.__name__, length
        self.optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base_lr)
        self.scheduler = _make(cls, arguments, self.optimizer, length)
        self.rates = [self._rate()]

    def check_length(self) -> None:
        """SegkitError where the scheduler ends before the run."""
        steps = getattr(self.scheduler, "total_steps", None)
        if isinstance(steps, int) and steps < self.length:
            raise SegkitError(
                f"{self.name} ends after total_steps = {steps}, and the run has {self.length}; leave total_steps out for the "
                "run's own length",
                key="total_steps",
                value=steps,
            )

    def rate(self, count: int) -> float:
        """The learning rate after ``count`` steps; that of the end of the run for all after it."""
        while len(self.rates) <= min(count, self.length - 1):
            self.optimizer.step()
            self.scheduler.step()
            self.rates.append(self._rate())
        return self.rates[min(count, len(self.rates) - 1)]

    def _rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])


def _make(cls: type[LRScheduler], arguments: Mapping[str, Any], optimizer: Any, length: int) -> LRScheduler:
    """The scheduler on an optimizer; those inside a sequence are built of their specs."""
    parameters = inspect.signature(cls).parameters
    given = {name: value for name, value in arguments.items() if value is not None or name not in LENGTHS}
    if given.get("epochs") is None:
        given |= {name: length for name in LENGTHS if name in parameters and name not in given}
    try:
        if "schedulers" in given:
            given["schedulers"] = [_nested(spec, optimizer, length) for spec in given["schedulers"]]
        return cls(**{_first(parameters): optimizer}, **given)
    except SegkitError:
        raise
    except Exception as error:  # torch says it in many types
        hint = "; a function is no value of a configuration" if "lr_lambda" in parameters else ""
        text = f"{cls.__name__} refuses its arguments: {type(error).__name__}: {error}{hint}"
        raise SegkitError(text) from error


def _nested(spec: Any, optimizer: Any, length: int) -> LRScheduler:
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise SegkitError(f"schedulers: expected a list of {{name: {PLACE}...., ...}}, got {spec!r}", key="schedulers")
    cls = locate_class(spec["name"], LRScheduler, "schedule", [PLACE])
    return _make(cls, {key: value for key, value in spec.items() if key != "name"}, optimizer, length)


def _first(parameters: Mapping[str, Any]) -> str:
    return "optimizer" if "optimizer" in parameters else next(iter(parameters))


@SCHEDULE_REGISTRY.adapts(LRScheduler, PLACE)
def adapt_scheduler(cls: Any) -> Any:
    """A component that makes a :class:`TorchSchedule` of ``cls``, with the arguments of ``cls``, ``step`` and a warm-up.

    ``total_steps`` and ``T_max`` are the length of the run where they are left out; ``cycle_momentum`` is false.

    Raises:
        SegkitError: its steps need a metric.
    """
    if any(p.default is inspect.Parameter.empty for p in list(inspect.signature(cls.step).parameters.values())[1:]):
        raise SegkitError(
            f"{cls.__name__} follows a metric, and a schedule is a function of the iteration; take Cosine or MultiStep, or "
            "train.early_stopping to end a run that gains nothing"
        )
    own = ("step", "warmup_iterations", "warmup_factor")

    def make(**arguments: Any) -> TorchSchedule:
        settings = {name: arguments.pop(name) for name in own if name in arguments}
        return TorchSchedule(cls, arguments, **settings)

    known = signature_of(cls, frozenset()).options
    changed: dict[str, Any] = {name: None for name in LENGTHS if name in known}
    if "cycle_momentum" in known:
        changed["cycle_momentum"] = False
    more = {
        "step": (Literal["iteration", "epoch"], "iteration"),
        "warmup_iterations": (int, 0),
        "warmup_factor": (float, 0.001),
    }
    without = {_first(known), "last_epoch", "verbose"}
    return component_like(make, cls, without=without, more=more, defaults=changed)
