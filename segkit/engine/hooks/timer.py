"""How long steps take, how long the run will still take, how much memory it took."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import torch

from segkit.engine.hooks.base import Hook

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer


class Timer(Hook):
    """Logs ``step_time`` and ``data_time`` (mean seconds since the last write), ``eta_seconds`` and ``memory_mb``.

    A step's time is from its ``before_step`` to its ``after_step``, without the wait for data. What else passes
    (evaluation, saving) enters the remaining time as its mean share per step.

    Args:
        period: how often the metrics are written. There, and only there, it waits for the device: in between, kernels
            run on while the next step is prepared, and single steps have no time of their own.
    """

    def __init__(self, period: int) -> None:
        self.period = period

    def before_train(self, trainer: Trainer) -> None:
        self._window_began = time.perf_counter()
        self._other = 0.0  # seconds of this run that were neither step nor data
        self._data, self._steps = 0.0, 0
        self._last_end: float | None = None
        self._others_in_window = 0.0
        if trainer.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.device)

    def before_step(self, trainer: Trainer) -> None:
        now = time.perf_counter()
        if self._last_end is None:
            self._window_began = now - trainer.data_time  # the loader's start is no part of a step
        else:
            between = now - self._last_end - trainer.data_time
            self._other += between
            self._others_in_window += between
        self._steps += 1

    def after_step(self, trainer: Trainer) -> None:
        if not self._steps:
            return  # called again in a resumed run, which has not taken a step yet
        self._data += trainer.data_time  # here: a step that accumulates waits for further batches
        if trainer.iteration % self.period == 0 or trainer.done or trainer.iteration == 1:
            self._log(trainer)
        self._last_end = time.perf_counter()

    def _log(self, trainer: Trainer) -> None:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)
        now = time.perf_counter()
        step_time = max(now - self._window_began - self._data - self._others_in_window, 0.0) / self._steps
        data_time = self._data / self._steps
        trainer.log("data_time", data_time)
        trainer.log("step_time", step_time)
        done = trainer.iteration - trainer.start_iteration
        remaining = 0 if trainer.done else trainer.max_iterations - trainer.iteration
        trainer.log("eta_seconds", remaining * (step_time + data_time + self._other / done))
        trainer.log("memory_mb", peak_memory_mb(trainer.device))
        self._window_began, self._data, self._steps, self._others_in_window = now, 0.0, 0, 0.0


def peak_memory_mb(device: torch.device) -> float:
    """The most memory used so far, MiB: of the GPU by torch, else of this process; 0 where the system cannot tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
