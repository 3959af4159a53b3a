"""Context manager that puts a model into evaluation mode and restores each module's mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """``model.eval()`` within the context; afterwards each module has its own former mode again.

    In evaluation mode batch norms use their running statistics without updating them, and dropout and stochastic depth
    drop nothing. ``model.losses`` works in either mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
