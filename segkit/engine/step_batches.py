"""The loader's batches, as many a step as the step takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from segkit.engine.trainer_arguments import check_batch
from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer


def step_batches(trainer: Trainer) -> Iterator[Iterator[Any]]:
    """Each step's batches until the run is at its end: the first is there, the others are loaded when asked for.

    A loader with ``start_at(iteration)`` starts with the step to come. The time that each batch takes is added to
    ``trainer.data_time``.

    Raises:
        SegkitError: the loader ends before the run does.
    """
    if trainer.done:
        return
    if (start_at := getattr(trainer.loader, "start_at", None)) is not None:
        start_at(trainer.iteration + trainer.epoch_shift)  # also for a second training with the same loader
    loader = iter(trainer.loader)

    def load() -> Any:
        started = time.perf_counter()
        batch = next(loader, None)
        if batch is None:
            raise SegkitError(
                f"the training loader ended before iteration {trainer.iteration + 1} of {trainer.max_iterations} had its "
                f"{trainer.accumulate} batches; a Trainer takes an endless one, as build_train_loader makes it"
            )
        check_batch(batch)
        trainer.data_time += time.perf_counter() - started
        return batch

    while not trainer.done:
        trainer.data_time = 0.0
        first = load()
        yield (first if part == 0 else load() for part in range(trainer.accumulate))
        trainer.batch, trainer.batches = None, []
