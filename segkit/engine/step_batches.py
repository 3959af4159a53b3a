"""The loader's batches, as many a step as the step takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer


def step_batches(trainer: Trainer) -> Iterator[Iterator[Any]]:
    """Each step's batches until the run is at its end: the first is there, the others are loaded when asked for.

    The time that each takes is added to ``trainer.data_time``.
    """
    if trainer.done:
        return
    loader = iter(trainer.loader)

    def load() -> Any:
        started = time.perf_counter()
        batch = next(loader, None)
        assert batch is not None, "the training loader must not end"
        trainer.data_time += time.perf_counter() - started
        return batch

    while not trainer.done:
        trainer.data_time = 0.0
        first = load()
        yield (first if part == 0 else load() for part in range(trainer.accumulate))
        trainer.batch, trainer.batches = None, []
