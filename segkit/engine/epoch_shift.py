"""Epochs of a run whose steps have become larger or smaller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def epoch_shift(state: Mapping[str, Any] | None, iterations_per_epoch: int, *, in_epochs: bool) -> int:
    """What a run adds to its count of iterations for what is counted in epochs, so that epochs that are done stay done.

    With other batches, or other data, an epoch has another number of iterations, while those that were done keep their
    numbers. So a run of 4 epochs that was resumed after 2, with batches of twice the size, goes on with the third epoch and
    for 2 epochs; a schedule is half way through.

    Args:
        state: the checkpoint that is gone on from; None: a new run.
        iterations_per_epoch: of the run to come.
        in_epochs: whether its length is given in epochs; where it is given in iterations these count, and epochs follow.
    Returns:
        0 as long as nothing has changed.
    """
    if state is None or not in_epochs:
        return 0
    before, shift = state["schedule"]["iterations_per_epoch"], state.get("epoch_shift", 0)
    if before == iterations_per_epoch:
        return shift
    return round((state["iteration"] + shift) * iterations_per_epoch / before) - state["iteration"]
