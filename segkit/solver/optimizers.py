"""torch's optimizers, with the arguments that a configuration may set written out.

An optimizer of your own is a function or class registered in ``OPTIMIZER_REGISTRY`` that takes ``model`` (or
``params``, the parameters that train) and keyword-only arguments, and gives a ``torch.optim.Optimizer``.
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
        decay_norms_and_biases: whether normalisations, biases and per-channel scales decay too.
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
        weight_decay: the part of a weight that is taken away at each step, times the learning rate.
        betas: decay rates of the first and second moment.
        eps: added to the denominator.
        decay_norms_and_biases: whether normalisations, biases and per-channel scales decay too.
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
        decay_norms_and_biases: whether normalisations, biases and per-channel scales decay too.
    """
    groups = parameter_groups(model, weight_decay=weight_decay, decay_norms_and_biases=decay_norms_and_biases)
    return torch.optim.Adam(groups, lr=lr, betas=betas, eps=eps, fused=fused_works(model))


def begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Makes the momenta of torch's fused SGD zero before its first step, where there are none yet.

    By itself it takes memory as it is for them, and leaves that so where fp16's scaler leaves the first step out.
    """
    for group in optimizer.param_groups if isinstance(optimizer, torch.optim.SGD) else []:
        for parameter in group["params"] if group["fused"] and group["momentum"] else []:
            if optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def fused_works(model: nn.Module) -> bool:
    """Whether torch's fused kernels, one pass over each parameter, serve all that trains: floats on a CPU or on CUDA."""
    return all(
        p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in model.parameters() if p.requires_grad
    )
