"""Measures times, alternating between sides, and peak memory."""

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

WARM_UP = {"cuda": 3}  # else 1; the first steps select kernels and fill caches


def seconds_of(step: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one step, until the device has finished."""
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
        steps: of each side, by name.
        runs: turns of each side.
        device: synchronised after each step.
        shortest_turn: seconds; a faster side repeats its step within its turn until it has taken that long.
    Returns:
        the seconds of each run by side, and the sides that ran out of device memory, which have none.
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
    """Runs small operations, so that libraries loaded at first use are not measured."""
    layer = torch.nn.Conv2d(8, 8, 3).to(device)
    layer(torch.zeros(2, 8, 16, 16, device=device)).flatten(1).sum().backward()


def free(device: torch.device) -> None:
    """Frees memory that is no longer used."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def synchronize(device: torch.device) -> None:
    """Waits until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class PeakMemory:
    """Peak memory since :meth:`reset`.

    On CUDA, memory allocated by torch. On the CPU, this process's resident memory beyond that at the creation of this
    object, which has to be before the model's, so that weights count on both kinds of device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._start = 0.0 if device.type == "cuda" else resident_bytes("VmRSS")

    def reset(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        # On Linux this resets the peak to the current value. Elsewhere, or if not permitted, the peak is the process's.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> float:
        """In bytes."""
        if self.device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self.device))
        return max(0.0, resident_bytes("VmHWM") - self._start)


def resident_bytes(which: str) -> float:
    """This process's resident memory ``VmRSS``, or its peak ``VmHWM``."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{which}:"))) * 2**10
    except (OSError, StopIteration):  # not Linux: the standard library only knows the process's peak
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1.0 if sys.platform == "darwin" else 2.0**10)
