"""The learning rates of an optimizer's parameter groups in each step, from a schedule.

A group stores its base rate as ``initial_lr``, the key of torch's own schedulers. A second training with the same optimizer
therefore starts from the base rates, not from the decayed rates of the first one.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from segkit.solver.schedules import Schedule

logger = logging.getLogger(__name__)
RATE_KEYS = ("initial_lr", "last_lr")  # keys of a group besides torch's; ``last_lr`` only between two trainings


def start_from_base_rates(optimizer: torch.optim.Optimizer) -> None:
    """Sets each group's ``initial_lr`` at the start of a training.

    It becomes the group's ``lr`` if the optimizer has not trained yet, or if ``lr`` was changed since the last training.
    """
    for group in optimizer.param_groups:
        rate, last = float(group["lr"]), group.pop("last_lr", None)
        if "initial_lr" not in group or (last is not None and last != rate):
            group["initial_lr"] = rate


def note_last_rates(optimizer: torch.optim.Optimizer) -> None:
    """Stores each group's ``lr`` at the end of a training, to detect a rate that is set later."""
    for group in optimizer.param_groups:
        group["last_lr"] = float(group["lr"])


def set_rates(
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    *,
    iteration: int,
    total_iterations: int,
    iterations_per_epoch: int,
    steps: int | None = None,
) -> float:
    """Sets each group's ``lr`` to base rate times factor, and returns the largest rate.

    ``lr_factor`` of a group multiplies the whole schedule, ``end_lr`` included. A group that is added during the training
    has the ``lr`` with which it is added as base rate.

    Args:
        iteration, total_iterations, iterations_per_epoch, steps: see :meth:`Schedule.factor`.
    """
    rates = []
    for group in optimizer.param_groups:
        base_lr, scale = group.setdefault("initial_lr", float(group["lr"])), group.get("lr_factor", 1.0)
        rate = base_lr
        if scale != 0:  # otherwise the rate stays 0
            rate *= schedule.factor(iteration, total_iterations, iterations_per_epoch, base_lr / scale, steps=steps)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)  # in place, because a compiled or captured step reads this tensor
        else:
            group["lr"] = rate
        rates.append(rate)
    return max(rates)


class RateWatch:
    """Warns once if a learning rate is changed between two steps, which has no effect.

    A hook that restores the schedule's rate after the step is no such change.
    """

    def __init__(self) -> None:
        self._set: list[float | None] = []
        self._used: list[float | None] = []
        self._warned = False

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        """Records the rates that the schedule has just set."""
        self._set = _float_rates(optimizer)
        self._used = []

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Records the rates of the step, which hooks may have changed."""
        self._used = _float_rates(optimizer)

    def check(self, optimizer: torch.optim.Optimizer) -> None:
        """Compares the rates with the recorded ones, before the schedule sets the next."""
        for now, used, own in zip(_float_rates(optimizer), self._used, self._set, strict=False):
            if now not in (used, own) and not self._warned:
                self._warned = True
                logger.warning(
                    "a learning rate was changed from %g to %g between two steps (by a scheduler in a hook?), without "
                    "effect: the trainer sets it by its schedule before each step. Pass that schedule to the trainer "
                    "(segkit.solver.TorchSchedule for torch's), or change the rate in a hook's before_step",
                    used, now,
                )  # fmt: skip


def _float_rates(optimizer: torch.optim.Optimizer) -> list[float | None]:
    """Returns each group's rate; None for a tensor, because reading it may wait for a device."""
    return [None if isinstance(group["lr"], Tensor) else float(group["lr"]) for group in optimizer.param_groups]
