"""Times, taken alternately so that all sides meet the same state of the machine, and memory."""

from __future__ import annotations

import contextlib
import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

WARM_UP = {"cuda": 3}  # elsewhere 1: kernels are chosen and caches filled in the first step


def seconds_of(step: Callable[[], Any], device: torch.device) -> float:
    """How long one step takes, until the device has finished it."""
    synchronize(device)
    started = time.perf_counter()
    step()
    synchronize(device)
    return time.perf_counter() - started


def alternate(
    steps: Mapping[str, Callable[[], Any]], runs: int, device: torch.device, shortest_turn: float = 0.0
) -> tuple[dict[str, list[float]], list[str]]:
    """Times each side in ``runs`` turns, A B A B ..., after a warm-up of each.

    Args:
        steps: what each side does.
        runs: turns of each.
        device: waited for.
        shortest_turn: seconds; a side that needs less repeats its step in its turn until it has taken that long.
    Returns:
        the seconds of each run by side, and the sides that had too little memory on the device, which have none.
    """
    steps = dict(steps)
    failed: list[str] = []
    times: dict[str, list[float]] = {name: [] for name in steps}
    warm_up = WARM_UP.get(device.type, 1)
    for turn in range(warm_up + runs):
        for name in [name for name in steps if name not in failed]:
            try:
                seconds = [seconds_of(steps[name], device)]
                while turn >= warm_up and sum(seconds) < shortest_turn:
                    seconds.append(seconds_of(steps[name], device))
            except torch.OutOfMemoryError:
                failed.append(name)
                times.pop(name)
                free(device)
                continue
            if turn >= warm_up:
                times[name] += seconds
    return times, failed


def median(seconds: list[float]) -> float:
    return statistics.median(seconds)


def load_kernels(device: torch.device) -> None:
    """Run a little of what a step runs, so that libraries loaded at their first use count as nobody's memory."""
    layer = torch.nn.Conv2d(8, 8, 3).to(device)
    layer(torch.zeros(2, 8, 16, 16, device=device)).flatten(1).sum().backward()


def free(device: torch.device) -> None:
    """Gives back what is no longer in use."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class PeakMemory:
    """The most memory that was in use since :meth:`reset`.

    On CUDA what torch had allocated. On the CPU this process's resident memory beyond what it had when this object was
    made: make it before the model, and weights count on both kinds of device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._start = 0.0 if device.type == "cuda" else resident_bytes("VmRSS")

    def reset(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        # Linux: the mark falls to what is resident now. Elsewhere, or not allowed: it is the process's highest so far.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> float:
        """In bytes."""
        if self.device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self.device))
        return max(0.0, resident_bytes("VmHWM") - self._start)


def resident_bytes(which: str) -> float:
    """``VmRSS``, this process's resident memory, or ``VmHWM``, the most it was."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{which}:"))) * 2**10
    except (OSError, StopIteration):  # not Linux: the highest so far is all that the standard library knows
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1.0 if sys.platform == "darwin" else 2.0**10)
