"""torch's SGD, Adam and AdamW, with the arguments that a configuration may set.

To add an optimizer, register in ``OPTIMIZER_REGISTRY`` a function or class that takes ``model`` (or ``params``, the
trainable parameters) and keyword-only arguments, and returns a ``torch.optim.Optimizer``.
"""

from __future__ import annotations

import torch
from torch import nn

from segkit.registry import OPTIMIZER_REGISTRY
from segkit.solver.parameter_groups import parameter_groups


@OPTIMIZER_REGISTRY.register
def SGD(
    model: nn.Module,
    *,
    lr: float,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 1e-4,
    decay_norms_and_biases: bool = True,
) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum.

    Args:
        lr: the base learning rate, which the schedule multiplies.
        momentum: 0 for none.
        nesterov: Nesterov's form of the momentum.
        weight_decay: L2 penalty, added to the gradient.
        decay_norms_and_biases: whether weight decay applies to norms, biases and per-channel scales too.
    """
    groups = parameter_groups(model, weight_decay=weight_decay, decay_norms_and_biases=decay_norms_and_biases)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=fused_works(model))


@OPTIMIZER_REGISTRY.register
def AdamW(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float = 1e-2,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    decay_norms_and_biases: bool = True,
) -> torch.optim.AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Args:
        lr: the base learning rate, which the schedule multiplies.
        weight_decay: the fraction of a weight that each step subtracts, times the learning rate.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        decay_norms_and_biases: whether weight decay applies to norms, biases and per-channel scales too.
    """
    groups = parameter_groups(model, weight_decay=weight_decay, decay_norms_and_biases=decay_norms_and_biases)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, fused=fused_works(model))


@OPTIMIZER_REGISTRY.register
def Adam(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    decay_norms_and_biases: bool = True,
) -> torch.optim.Adam:
    """Adam (Kingma and Ba 2015).

    Args:
        lr: the base learning rate, which the schedule multiplies.
        weight_decay: L2 penalty, added to the gradient.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        decay_norms_and_biases: whether weight decay applies to norms, biases and per-channel scales too.
    """
    groups = parameter_groups(model, weight_decay=weight_decay, decay_norms_and_biases=decay_norms_and_biases)
    return torch.optim.Adam(groups, lr=lr, betas=betas, eps=eps, fused=fused_works(model))


def begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Initialises missing momentum buffers of torch's fused SGD with zeros.

    torch allocates them uninitialised in the first step, and does not write them if fp16's scaler skips that step.
    """
    for group in optimizer.param_groups if isinstance(optimizer, torch.optim.SGD) else []:
        for parameter in group["params"] if group["fused"] and group["momentum"] else []:
            if optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def fused_works(model: nn.Module) -> bool:
    """Whether torch's fused kernels support all trainable parameters: floats on CPU or CUDA."""
    return all(
        p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in model.parameters() if p.requires_grad
    )
