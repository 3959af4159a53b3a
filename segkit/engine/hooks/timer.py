"""The hook that logs step time, data time, remaining time and peak memory."""

from __future__ import annotations

import sys
import time

import torch

from segkit.engine.train_loop import Hook, TrainerBase


class Timer(Hook):
    """Logs ``step_time``, ``data_time``, ``eta_seconds`` and ``memory_mb``.

    ``step_time`` and ``data_time`` are mean seconds of the steps since the last line. The time of a step runs from
    ``before_step`` to ``after_step``, without the wait for data. Evaluation and saving enter the remaining time as
    their mean share of a step.

    Args:
        period: iterations between two lines of metrics. Only then the hook waits for the device: in between, kernels
            of one step run while the host prepares the next, so single steps have no time of their own.
    """

    def __init__(self, period: int) -> None:
        self.period = period

    def before_train(self, trainer: TrainerBase) -> None:
        self._window_began = time.perf_counter()
        self._other = 0.0  # seconds of this run outside of steps and loading
        self._data, self._steps = 0.0, 0
        self._last_end: float | None = None
        self._others_in_window = 0.0
        if trainer.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.device)

    def before_step(self, trainer: TrainerBase) -> None:
        now = time.perf_counter()
        if self._last_end is None:
            self._window_began = now - trainer.data_time  # excludes the start of the loader
        else:
            between = now - self._last_end - trainer.data_time
            self._other += between
            self._others_in_window += between
        self._steps += 1

    def after_step(self, trainer: TrainerBase) -> None:
        if not self._steps:
            return  # called again in a resumed run, before its first step
        self._data += trainer.data_time  # after the step, which waits for further batches if it accumulates gradients
        if trainer.iteration % self.period == 0 or trainer.done or trainer.iteration == 1:
            self._log(trainer)
        self._last_end = time.perf_counter()

    def _log(self, trainer: TrainerBase) -> None:
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
    """Returns the peak memory so far in MiB; 0 if it is unknown.

    On a GPU it is the memory that torch has allocated, on a CPU that of this process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
