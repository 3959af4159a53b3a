"""Learning rate schedules: pure functions of the iteration.

A schedule has no state. A resumed run needs its iteration only, and a schedule can be drawn, tested and compared without an
optimizer. To add a schedule, subclass :class:`Schedule` and define ``shape``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

from segkit.registry import SCHEDULE_REGISTRY
from segkit.utils.errors import SegkitError


class Schedule(ABC):
    """The learning rate of a step as a factor of the base learning rate.

    Args:
        warmup_iterations: length of the linear warm-up, in which the factor is multiplied by values that rise from
            ``warmup_factor`` to 1; 0: no warm-up.
        warmup_factor: the first of these values.
    """

    def __init__(self, *, warmup_iterations: int = 0, warmup_factor: float = 0.001) -> None:
        if warmup_iterations < 0:
            raise ValueError(f"warmup_iterations must be 0 or more, got {warmup_iterations}")
        if not 0 <= warmup_factor <= 1:
            raise ValueError(f"warmup_factor must be between 0 and 1, got {warmup_factor}")
        self.warmup_iterations = warmup_iterations
        self.warmup_factor = warmup_factor

    def factor(
        self,
        iteration: int,
        total_iterations: int,
        iterations_per_epoch: int,
        base_lr: float,
        *,
        steps: int | None = None,
    ) -> float:
        """Returns the factor of the step that follows ``iteration`` finished ones.

        Args:
            iteration: number of finished steps.
            total_iterations: length of the run.
            iterations_per_epoch: length of an epoch.
            base_lr: the learning rate that the factor multiplies.
            steps: number of finished steps of the warm-up; None: ``iteration``.
        """
        factor = self.shape(iteration, total_iterations, iterations_per_epoch, base_lr)
        steps = iteration if steps is None else steps
        if steps < self.warmup_iterations:
            progress = steps / self.warmup_iterations
            factor *= self.warmup_factor + (1 - self.warmup_factor) * progress
        return factor

    @abstractmethod
    def shape(self, iteration: int, total_iterations: int, iterations_per_epoch: int, base_lr: float) -> float:
        """Returns the factor without warm-up."""


@SCHEDULE_REGISTRY.register
class Constant(Schedule):
    """The base learning rate throughout."""

    def __init__(self, *, warmup_iterations: int = 0, warmup_factor: float = 0.001) -> None:
        super().__init__(warmup_iterations=warmup_iterations, warmup_factor=warmup_factor)

    def shape(self, iteration: int, total_iterations: int, iterations_per_epoch: int, base_lr: float) -> float:
        return 1.0


@SCHEDULE_REGISTRY.register
class MultiStep(Schedule):
    """Multiplies the learning rate by ``gamma`` at each milestone.

    Args:
        milestones: ascending; below 1: fractions of the run, otherwise iterations.
        gamma: the factor at each milestone.
        warmup_iterations: see :class:`Schedule`.
        warmup_factor: see :class:`Schedule`.
    """

    def __init__(
        self,
        *,
        milestones: Sequence[float] = (2 / 3, 8 / 9),
        gamma: float = 0.1,
        warmup_iterations: int = 0,
        warmup_factor: float = 0.001,
    ) -> None:
        super().__init__(warmup_iterations=warmup_iterations, warmup_factor=warmup_factor)
        for milestone in milestones:
            if milestone <= 0 or (milestone > 1 and milestone != int(milestone)):
                raise ValueError(f"milestones must be iterations or fractions between 0 and 1, got {milestone}")
        if gamma <= 0:
            raise ValueError(f"gamma must be above 0, got {gamma}")
        self.milestones = tuple(milestones)
        self.gamma = gamma

    def shape(self, iteration: int, total_iterations: int, iterations_per_epoch: int, base_lr: float) -> float:
        at = [m * total_iterations if m < 1 else m for m in self.milestones]
        if at != sorted(at):
            raise SegkitError(f"the milestones {self.milestones} do not ascend in {total_iterations} iterations")
        return self.gamma ** sum(iteration >= milestone for milestone in at)


@SCHEDULE_REGISTRY.register
class Cosine(Schedule):
    """Half a cosine from the base learning rate to ``end_lr``.

    SGDR without restarts (Loshchilov and Hutter 2017).

    Args:
        end_lr: the learning rate that the curve approaches at the end of the run.
        step: "iteration": the rate follows the curve; "epoch": it is constant during an epoch, as with torch's
            CosineAnnealingLR stepped after each epoch.
        warmup_iterations: see :class:`Schedule`.
        warmup_factor: see :class:`Schedule`.
    """

    def __init__(
        self,
        *,
        end_lr: float = 0.0,
        step: Literal["iteration", "epoch"] = "iteration",
        warmup_iterations: int = 0,
        warmup_factor: float = 0.001,
    ) -> None:
        super().__init__(warmup_iterations=warmup_iterations, warmup_factor=warmup_factor)
        if end_lr < 0:
            raise ValueError(f"end_lr must be 0 or more, got {end_lr}")
        if step not in ("iteration", "epoch"):
            raise ValueError(f"step must be 'iteration' or 'epoch', got {step!r}")
        self.end_lr = end_lr
        self.step = step

    def shape(self, iteration: int, total_iterations: int, iterations_per_epoch: int, base_lr: float) -> float:
        # base_lr is a group's rate divided by its lr_factor, which may change the last bit.
        if self.end_lr > base_lr * (1 + 1e-9):
            raise SegkitError(f"the schedule's end_lr {self.end_lr:g} is above the optimizer's lr {base_lr:g}")
        if base_lr == 0:
            return 1.0
        if self.step == "epoch":
            iteration = iteration // iterations_per_epoch * iterations_per_epoch
        progress = min(iteration / total_iterations, 1.0)
        end = self.end_lr / base_lr
        return end + (1 - end) * (1 + math.cos(math.pi * progress)) / 2
