"""Epochs without a single object: whoever has a loader of their own learns of them here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from segkit.structures.targets import Targets
from segkit.utils import distributed

logger = logging.getLogger(__name__)


class EpochObjects:
    """Counts the objects of an epoch's steps and warns, once, where there was none.

    Args:
        steps: of an epoch.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._seen = 0
        self._objects = 0
        self._warned = False

    def add(self, objects: int) -> None:
        """Takes one step's number of objects, over all processes."""
        self._seen += 1
        self._objects += objects
        if self._seen < self._steps:
            return
        if not self._objects and not self._warned:
            self._warned = True
            if distributed.is_main():  # it holds for all
                logger.warning(
                    "an epoch of %d steps had no object to train on: its targets are empty, or all are crowd regions",
                    self._seen,
                )
        self._seen = self._objects = 0


def count_objects(batches: Iterable[Any]) -> int:
    """Objects that are no crowd regions; 1 for a batch whose targets are no ``Targets``."""
    total = 0
    for batch in batches:
        targets = getattr(batch, "targets", None)
        if not isinstance(targets, Sequence) or not all(isinstance(one, Targets) for one in targets):
            total += 1
            continue
        total += sum(len(one) - (int(one.crowd.sum()) if one.has_crowd else 0) for one in targets)
    return total
