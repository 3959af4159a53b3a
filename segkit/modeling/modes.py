"""Training and evaluation mode of a whole model, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """``model.eval()`` for a block; afterwards each module has the mode it had, not the root's.

    What depends on the mode are layers with two ways of working: batch norms use and keep their running statistics in
    here, dropout and stochastic depth leave everything in. ``model.losses`` itself asks for no mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
