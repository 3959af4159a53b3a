"""Gradient checkpointing: saves memory by a second forward pass (Chen et al., 2016)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[[Tensor], Tensor], x: Tensor, parts: Sequence[nn.Module]) -> Tensor:
    """``function(x)``, run a second time in the backward pass, for which only ``x`` is kept.

    Args:
        function: runs ``parts``.
        x: its input.
        parts: the modules that it uses. If neither they nor anything before them trains, nothing is kept or run again.
    """
    trains = x.requires_grad or any(p.requires_grad for part in parts for p in part.parameters())
    if not (torch.is_grad_enabled() and trains):
        return function(x)
    modes = [(module, module.training) for part in parts for module in part.modules()]
    return checkpoint(
        function,
        x,
        use_reentrant=False,
        preserve_rng_state=True,  # so that the same paths are dropped
        context_fn=lambda: (contextlib.nullcontext(), _second_run(modes)),
    )


@contextlib.contextmanager
def _second_run(modes: Sequence[tuple[nn.Module, bool]]) -> Iterator[None]:
    """Context of the second run: the first run's modes, and batch norms do not count twice."""
    before = [(module, module.training) for module, _ in modes]
    norms = [(m, m.momentum, m.num_batches_tracked) for m, _ in modes if isinstance(m, _BatchNorm)]
    try:
        for module, mode in modes:
            module.training = mode
        for norm, _, count in norms:
            # The running statistics stay in place, since a norm without them keeps other tensors for the backward pass.
            norm.momentum = 0.0
            norm.num_batches_tracked = None if count is None else count.clone()
        yield
    finally:
        for module, mode in before:
            module.training = mode
        for norm, momentum, count in norms:
            norm.momentum, norm.num_batches_tracked = momentum, count
