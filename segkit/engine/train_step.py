"""Functions of a training step: its random seeds, losses and gradients.

They take what they need and change only the gradients (``backward``) and the random generators (``seed_step``).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from segkit.engine.amp import autocast
from segkit.utils import distributed
from segkit.utils.seeding import seeds


def seed_step(seed: int, step: int, part: int, device: torch.device | str, rank: int = 0) -> torch.Generator:
    """Seeds the global generators for one batch of one step in one process.

    ``step`` and ``part`` (the batch within the step) count from 0.

    Returns:
        the generator for the model's sampling, on ``device``.
    """
    for_layers, for_sampling = seeds("step", seed, step, part, rank, count=2)
    if torch.device(device).type == "cpu":
        # Without the other devices: torch.manual_seed takes half a millisecond to defer seeding CUDA.
        torch.default_generator.manual_seed(for_layers)
    else:
        torch.manual_seed(for_layers)
    return torch.Generator(device).manual_seed(for_sampling)


def batch_losses(
    losses: Callable[..., dict[str, Tensor]],
    batch: Any,
    *,
    seed: int,
    step: int,
    part: int,
    device: torch.device,
    precision: str,
    rank: int = 0,
) -> dict[str, Tensor]:
    """Returns a batch's losses, with the random seeds of its position in the run.

    Args:
        losses: ``losses(images, targets, generator)`` of a model, or of a model that several processes train.
        seed, step, part, rank: see :func:`seed_step`.
        precision: fp32, bf16 or fp16.
    """
    generator = seed_step(seed, step, part, device, rank)
    with autocast(precision, device):
        return losses(batch.images, batch.targets, generator)


def backward(losses: Mapping[str, Tensor], scaler: torch.amp.GradScaler, batches: int) -> dict[str, Tensor]:
    """Adds the gradients of one of a step's ``batches``; each batch counts the same.

    Args:
        losses: scalars by name; their sum is the loss that is minimised.
        scaler: multiplies the loss by fp16's loss scale; a disabled one leaves it.
        batches: number of batches of the step, by which losses and gradients are divided.
    Returns:
        ``total`` and the losses, divided by ``batches``: detached scalars on the device.
    """
    total = torch.stack([loss.float() for loss in losses.values()]).sum()
    scaler.scale(total / batches).backward()
    return {name: loss.detach() / batches for name, loss in {"total": total, **losses}.items()}


def add_losses(sums: dict[str, Tensor], losses: Mapping[str, Tensor]) -> None:
    """Adds a batch's losses to the step's sums, in place; the names of losses may differ."""
    for name, loss in losses.items():
        sums[name] = sums[name] + loss if name in sums else loss


def digest(names: Iterable[str]) -> tuple[int, int]:
    """Returns a hash x of some names, and its square.

    Their sums over all processes tell each process whether the names are equal in all, see :func:`equal_digests`.
    """
    x = zlib.crc32(" ".join(names).encode()) >> 8  # 24 bits: sums of squares stay below 64
    return x, x * x


def equal_digests(x: int, x_squared: int) -> bool:
    """Whether a digest is equal in all processes: n times the sum of squares is the sum squared.

    All processes return the same, as they have the same sums.
    """
    return distributed.world_size() * x_squared == x * x


def with_losses_of_all(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns all processes' losses in one order; a loss that this process lacks is 0."""
    names = distributed.broadcast(distributed.gather(list(losses)))
    zero = torch.zeros_like(losses["total"])
    return {name: losses.get(name, zero) for own in names for name in own}


def mean_over_processes(scalars: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the means of scalars over all processes; equal in each of them to the bit."""
    if distributed.world_size() == 1:
        return scalars
    means = distributed.mean(torch.stack([value.float() for value in scalars.values()]))
    return dict(zip(scalars, means.unbind(), strict=True))
