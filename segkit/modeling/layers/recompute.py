"""Gradient checkpointing (Chen et al., "Training deep nets with sublinear memory cost", 2016): time for memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[[Tensor], Tensor], x: Tensor, parts: Sequence[nn.Module]) -> Tensor:
    """``function(x)``, of which only ``x`` is kept for backward, where it is run again. Values and gradients are the same.

    Args:
        function: runs ``parts``.
        x: its input.
        parts: the modules it uses. Where nothing of them trains and nothing before them does, it is simply run.
    """
    trains = x.requires_grad or any(p.requires_grad for part in parts for p in part.parameters())
    if not (torch.is_grad_enabled() and trains):
        return function(x)
    modes = [(module, module.training) for part in parts for module in part.modules()]
    return checkpoint(
        function,
        x,
        use_reentrant=False,
        preserve_rng_state=True,  # the same paths are dropped
        context_fn=lambda: (contextlib.nullcontext(), _again(modes)),
    )


@contextlib.contextmanager
def _again(modes: Sequence[tuple[nn.Module, bool]]) -> Iterator[None]:
    """Modules in the modes of their first run; batch norms don't count the batch twice."""
    before = [(module, module.training) for module, _ in modes]
    norms = [(m, m.momentum, m.num_batches_tracked) for m, _ in modes if isinstance(m, _BatchNorm)]
    try:
        for module, mode in modes:
            module.training = mode
        for norm, _, count in norms:
            # Without running statistics, a norm would keep other tensors for backward than in its first run.
            norm.momentum = 0.0
            norm.num_batches_tracked = None if count is None else count.clone()
        yield
    finally:
        for module, mode in before:
            module.training = mode
        for norm, momentum, count in norms:
            norm.momentum, norm.num_batches_tracked = momentum, count
