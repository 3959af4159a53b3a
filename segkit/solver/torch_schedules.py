"""Makes a schedule, a function of the iteration, of any torch learning rate scheduler."""

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

MODULE = "torch.optim.lr_scheduler"
# Parameters whose default is the length of the run.
LENGTHS = ("total_steps", "T_max")


class TorchSchedule(Schedule):
    """The rates of a torch scheduler, stepped each iteration or epoch, as a schedule.

    The scheduler runs on an optimizer of its own, with a single group of the base learning rate, from the first iteration
    on. The factor of an iteration is therefore the same in a resumed run. Only learning rates are used, not momentum.

    Args:
        cls: the scheduler's class.
        arguments: of the class, without the optimizer.
        step: whether the scheduler steps after each iteration or each epoch.
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
                "cycle_momentum: schedules set the learning rate only; remove it, or set it to false",
                key="cycle_momentum",
            )
        self.cls, self.arguments, self.step = cls, dict(arguments), step
        self._tables: dict[tuple[float, int], _RateTable] = {}
        _RateTable(cls, self.arguments, base_lr=1e-3, length=10)  # raises for wrong arguments, before the run starts

    def shape(self, iteration: int, total_iterations: int, iterations_per_epoch: int, base_lr: float) -> float:
        if base_lr == 0:
            return 1.0
        count, length = iteration, total_iterations
        if self.step == "epoch":
            count, length = iteration // iterations_per_epoch, math.ceil(total_iterations / iterations_per_epoch)
        # base_lr is a group's rate divided by its lr_factor, which may change the last bit.
        rate = float(f"{base_lr:.12g}")
        table = self._tables.get((rate, length))
        if table is None:
            table = self._tables[rate, length] = _RateTable(self.cls, self.arguments, base_lr=rate, length=length)
            table.check_length()
        return table.rate(count) / rate

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": {}}  # a scheduler wraps its optimizer's methods and cannot be pickled


class _RateTable:
    """The learning rates of a scheduler, computed step by step as far as they are asked for."""

    def __init__(self, cls: type[LRScheduler], arguments: Mapping[str, Any], *, base_lr: float, length: int) -> None:
        self.name, self.length = cls.__name__, length
        self.optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base_lr)
        self.scheduler = _make(cls, arguments, self.optimizer, length)
        self.rates = [self._rate()]

    def check_length(self) -> None:
        """Raises if the scheduler ends before the run."""
        steps = getattr(self.scheduler, "total_steps", None)
        if isinstance(steps, int) and steps < self.length:
            raise SegkitError(
                f"{self.name} ends after total_steps = {steps}, and the run has {self.length}; remove total_steps for the "
                "run's own length",
                key="total_steps",
                value=steps,
            )

    def rate(self, count: int) -> float:
        """Returns the learning rate after ``count`` steps, at most at the end of the run."""
        while len(self.rates) <= min(count, self.length - 1):
            self.optimizer.step()
            self.scheduler.step()
            self.rates.append(self._rate())
        return self.rates[min(count, len(self.rates) - 1)]

    def _rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])


def _make(cls: type[LRScheduler], arguments: Mapping[str, Any], optimizer: Any, length: int) -> LRScheduler:
    """Builds the scheduler on an optimizer, and those in its ``schedulers`` from their specs."""
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
    except Exception as error:  # torch raises many types for wrong arguments
        hint = "; a configuration cannot hold a function" if "lr_lambda" in parameters else ""
        text = f"{cls.__name__} refuses its arguments: {type(error).__name__}: {error}{hint}"
        raise SegkitError(text) from error


def _nested(spec: Any, optimizer: Any, length: int) -> LRScheduler:
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise SegkitError(f"schedulers: expected a list of {{name: {MODULE}...., ...}}, got {spec!r}", key="schedulers")
    cls = locate_class(spec["name"], LRScheduler, "schedule", [MODULE])
    return _make(cls, {key: value for key, value in spec.items() if key != "name"}, optimizer, length)


def _first(parameters: Mapping[str, Any]) -> str:
    return "optimizer" if "optimizer" in parameters else next(iter(parameters))


@SCHEDULE_REGISTRY.adapts(LRScheduler, MODULE)
def adapt_scheduler(cls: Any) -> Any:
    """Returns a component that builds a :class:`TorchSchedule` of ``cls``.

    Its arguments are those of ``cls``, ``step`` and the warm-up. The defaults of ``total_steps`` and ``T_max`` are the length
    of the run, that of ``cycle_momentum`` is false.

    Raises:
        SegkitError: its step needs a metric.
    """
    if any(p.default is inspect.Parameter.empty for p in list(inspect.signature(cls.step).parameters.values())[1:]):
        raise SegkitError(
            f"{cls.__name__} follows a metric, and a schedule is a function of the iteration; use Cosine or MultiStep, or "
            "train.early_stopping to end a run that no longer improves"
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
