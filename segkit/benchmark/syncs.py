"""Finds synchronisations of the host with the GPU by torch's profiler.

After a synchronisation the host is no longer ahead of the GPU, so that the next kernels start late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch

WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def count_syncs(step: Callable[[], Any]) -> Counter[str]:
    """Synchronisations of each operation in one step, which should have run before."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        step()
        with torch.profiler.record_function(END):
            torch.cuda.synchronize()  # needed by the profiler; not part of the step
    return count_waits(profiler.events())


END = "end of the step"


def count_waits(events: Iterable[Any]) -> Counter[str]:
    """Synchronisations among a profiler's events, by the operation that causes them.

    An operation is named with what called it: ``aten::nonzero in aten::index`` where the outermost differs.
    """
    found: Counter[str] = Counter()
    for event in events:
        if event.name not in WAITS:
            continue
        chain = []
        parent = event.cpu_parent
        while parent is not None:
            chain.append(parent.name)
            parent = parent.cpu_parent
        if END in chain:
            continue
        operations = [name for name in chain if name.startswith(("aten::", "torchvision::"))]
        named = operations or chain or [event.name]
        found[named[0] if len(named) == 1 else f"{named[0]} in {named[-1]}"] += 1
    return found
