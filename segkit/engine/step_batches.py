"""Loads the batches of a step, and measures how long the step waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from segkit.engine.trainer_arguments import check_batch
from segkit.utils.errors import SegkitError


class StepBatches:
    """The batches of a loader, ``accumulate`` for each step.

    Args:
        loader: an endless iterable of batches. One with ``start_at(iteration)`` is set to ``start``, also for a second
            training with the same loader.
        start: the iteration that the first batch belongs to.
    Attributes:
        seconds: how long the present step has waited for its batches.
    """

    def __init__(self, loader: Iterable[Any], accumulate: int, *, start: int) -> None:
        if (start_at := getattr(loader, "start_at", None)) is not None:
            start_at(start)
        self._loader = iter(loader)
        self._accumulate = accumulate
        self.seconds = 0.0

    def of_next_step(self) -> Iterator[Any]:
        """Returns the next step's batches: the first one is loaded now, the others on demand.

        Raises:
            SegkitError: the loader ends, or yields something else than batches.
        """
        self.seconds = 0.0
        first = self._load()
        return (first if part == 0 else self._load() for part in range(self._accumulate))

    def _load(self) -> Any:
        started = time.perf_counter()
        batch = next(self._loader, None)
        if batch is None:
            raise SegkitError(
                f"the training loader ended before the last step had its {self._accumulate} batches; a Trainer takes an "
                "endless one, as build_train_loader makes it"
            )
        check_batch(batch)
        self.seconds += time.perf_counter() - started
        return batch
