"""The learning rates of an optimizer's parameter groups in each step, from a schedule.

A group keeps its base rate as ``initial_lr``, the key of torch's own schedulers. So it outlives the training: a second one
with the same optimizer starts from the base rates and not from those that the first one has decayed.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from segkit.solver.schedules import Schedule

logger = logging.getLogger(__name__)
RATE_KEYS = ("initial_lr", "last_lr")  # of a group, beside torch's; ``last_lr`` only between two trainings


def start_from_base_rates(optimizer: torch.optim.Optimizer) -> None:
    """Before a training: notes the base rate of each group.

    It is the group's ``lr`` where nothing has trained with it yet, or where the user has set it since the last training.
    """
    for group in optimizer.param_groups:
        rate, left = float(group["lr"]), group.pop("last_lr", None)
        if "initial_lr" not in group or (left is not None and left != rate):
            group["initial_lr"] = rate


def note_last_rates(optimizer: torch.optim.Optimizer) -> None:
    """After a training: notes what it left in ``lr``, to tell that from what a user sets later."""
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
    """Sets each group's ``lr`` to its base rate times the schedule's factor.

    A group with an ``lr_factor`` follows the schedule of the base rate without it, times it: ``end_lr``, too, is that of
    the whole. A group that was added during the training has the ``lr`` that it was added with as its base rate.

    Args:
        iteration, total_iterations, iterations_per_epoch, steps: see :meth:`Schedule.factor`.
    Returns:
        the largest rate.
    """
    rates = []
    for group in optimizer.param_groups:
        base_lr, scale = group.setdefault("initial_lr", float(group["lr"])), group.get("lr_factor", 1.0)
        rate = base_lr
        if scale != 0:  # else it stays 0
            rate *= schedule.factor(iteration, total_iterations, iterations_per_epoch, base_lr / scale, steps=steps)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)  # in place, for a compiled or captured step reads this tensor
        else:
            group["lr"] = rate
        rates.append(rate)
    return max(rates)


class RateWatch:
    """Warns, once, where something else than the schedule sets a learning rate between two steps: it would have no effect.

    A rate that is put back to the schedule's after a step is none.
    """

    def __init__(self) -> None:
        self._set: list[float | None] = []
        self._used: list[float | None] = []
        self._warned = False

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        """The schedule has just set the rates."""
        self._set = _numbers(optimizer)
        self._used = []

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """The step is taken with the present rates, which hooks may have changed."""
        self._used = _numbers(optimizer)

    def check(self, optimizer: torch.optim.Optimizer) -> None:
        """Before the schedule sets the next rates."""
        for now, used, own in zip(_numbers(optimizer), self._used, self._set, strict=False):
            if now not in (used, own) and not self._warned:
                self._warned = True
                logger.warning(
                    "a learning rate was changed from %g to %g between two steps (by a scheduler in a hook?), without "
                    "effect: the trainer sets it by its schedule before each step. Give the trainer that schedule "
                    "(segkit.solver.TorchSchedule for torch's), or change the rate in a hook's before_step",
                    used, now,
                )  # fmt: skip


def _numbers(optimizer: torch.optim.Optimizer) -> list[float | None]:
    """Each group's rate; None for a tensor, which may be on a device that would have to be waited for."""
    return [None if isinstance(group["lr"], Tensor) else float(group["lr"]) for group in optimizer.param_groups]
