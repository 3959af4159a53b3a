"""The batches of a step: loading them, timing the wait for them, counting what they hold."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from segkit.engine.trainer_arguments import check_batch
from segkit.structures.targets import Targets
from segkit.utils import distributed
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)


class StepBatches:
    """The batches of a loader, ``accumulate`` for each step.

    Args:
        loader: an endless iterable of batches. One with ``start_at(iteration)`` is set to ``start``, also for a second
            training with the same loader.
        start: the iteration that the first batch belongs to.
    Attributes:
        seconds: how long the current step has waited for its batches.
    """

    def __init__(self, loader: Iterable[Any], accumulate: int, *, start: int) -> None:
        self._loader = loader
        self._accumulate = accumulate
        self._start = start
        self._iterator: Iterator[Any] | None = None
        self.seconds = 0.0

    def of_next_step(self, name: str) -> Iterator[Any]:
        """Returns the next step's batches: the first one is loaded now, the others on demand.

        Args:
            name: of the step, for messages.
        Raises:
            SegkitError: the loader ends, or yields something else than batches.
        """
        if self._iterator is None:
            if (start_at := getattr(self._loader, "start_at", None)) is not None:
                start_at(self._start)
            self._iterator = iter(self._loader)
        self.seconds = 0.0
        first = self._load(name)
        return (first if part == 0 else self._load(name) for part in range(self._accumulate))

    def close(self) -> None:
        """Drops the loader's iterator, and so ends its worker processes."""
        self._iterator = None

    def _load(self, name: str) -> Any:
        assert self._iterator is not None
        started = time.perf_counter()
        batch = next(self._iterator, None)
        if batch is None:
            raise SegkitError(
                f"the training loader ended before {name} had its {self._accumulate} batches; a Trainer takes an endless "
                "one, as build_train_loader makes it"
            )
        check_batch(batch)
        self.seconds += time.perf_counter() - started
        return batch


def data_counts(batches: Iterable[Any]) -> dict[str, int]:
    """Returns counts over the batches of a step, in this process.

    ``data/dropped``: objects that reading and transforms removed, as a crop removes those outside of it.
    ``data/rescued``: masks that shrinking would have emptied and that kept one pixel.
    ``data/skipped``: images that could not be read and were replaced by others.
    ``objects``: see :func:`count_objects`.
    """
    batches = list(batches)
    samples = [sample for batch in batches for sample in getattr(batch, "samples", ())]
    counts = {f"data/{name}": sum(getattr(s, name) for s in samples) for name in ("dropped", "rescued")}
    counts["data/skipped"] = sum(len(sample.skipped) for sample in samples)
    counts["objects"] = count_objects(batches)
    return counts


def count_objects(batches: Iterable[Any]) -> int:
    """Returns the number of objects except crowd regions; 1 for a batch without ``Targets``."""
    total = 0
    for batch in batches:
        targets = getattr(batch, "targets", None)
        if not isinstance(targets, Sequence) or not all(isinstance(one, Targets) for one in targets):
            total += 1
            continue
        total += sum(len(one) - (int(one.crowd.sum()) if one.has_crowd else 0) for one in targets)
    return total


class EpochObjects:
    """Counts the objects of an epoch's steps and warns, once, of an epoch without any.

    This check covers loaders that the user has written; those of segkit are checked before the training.

    Args:
        steps: number of steps in an epoch.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._seen = 0
        self._objects = 0
        self._warned = False

    def add(self, objects: int) -> None:
        """Adds a step's number of objects, over all processes."""
        self._seen += 1
        self._objects += objects
        if self._seen < self._steps:
            return
        if not self._objects and not self._warned:
            self._warned = True
            if distributed.is_main():  # the count is the same in all processes
                logger.warning(
                    "an epoch of %d steps had no object to train on: its targets are empty, or all are crowd regions",
                    self._seen,
                )
        self._seen = self._objects = 0
