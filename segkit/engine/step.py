"""A step's gradients: a function of the weights, the step's batches and (seed, step)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from segkit.engine.precision import autocast
from segkit.engine.trainer_arguments import check_losses
from segkit.solver.clipping import clip_gradients
from segkit.utils import distributed
from segkit.utils.seeding import seeds

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer


def seed_step(seed: int, step: int, part: int, device: torch.device | str, rank: int = 0) -> torch.Generator:
    """Seeds the global generators for batch number ``part`` of step number ``step`` (both from 0) in process ``rank``.

    Returns:
        the generator, on ``device``, for the model's sampling.
    """
    for_layers, for_sampling = seeds("step", seed, step, part, rank, count=2)
    if torch.device(device).type == "cpu":
        # Without the other devices, whose seeding costs half a millisecond to put off.
        torch.default_generator.manual_seed(for_layers)
    else:
        torch.manual_seed(for_layers)
    return torch.Generator(device).manual_seed(for_sampling)


def batch_losses(
    model: Any, batch: Any, *, seed: int, step: int, part: int, device: torch.device, precision: str, rank: int = 0
) -> dict[str, Tensor]:
    """The losses of a batch that is on ``device``, with the randomness of its place in the run."""
    generator = seed_step(seed, step, part, device, rank)
    with autocast(precision, device):
        return model.losses(batch.images, batch.targets, generator)


def compute_gradients(trainer: Trainer, batches: Iterable[Any]) -> dict[str, Tensor]:
    """Gives the parameters the gradients of a step's ``trainer.accumulate`` batches, averaged and clipped.

    Each batch counts the same, as its own loss is normalised; batch norms see, and learn from, one batch at a time.
    So does each process: gradients and values are the means over all of them, the same to the bit in each.

    Returns:
        ``loss/total``, ``loss/NAME`` (means over the batches) and ``grad_norm`` (before clipping): detached scalars on the
        device.
    """
    values: dict[str, Tensor] = {}
    for part, batch in enumerate(batches):
        trainer.batches.append(batch)
        # Pinned batches travel while the host goes on; for others the flag changes nothing.
        trainer.batch = batch = batch.to(trainer.device, non_blocking=trainer.device.type == "cuda")
        distributed.barrier()  # all have their batch: sync_bn waits for the others' on the device, and not for long
        losses = trainer.batch_losses(batch, trainer.iteration, part)
        check_losses(losses, trainer.model)
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        trainer.scaler.scale(total / trainer.accumulate).backward()
        for name, loss in {"total": total, **losses}.items():
            share = loss.detach() / trainer.accumulate
            values[f"loss/{name}"] = values[f"loss/{name}"] + share if f"loss/{name}" in values else share
    average_over_processes(trainer, values)
    trainer.scaler.unscale_(trainer.optimizer)
    parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    # Measured also where nothing is clipped: a finite loss may have a gradient of NaN.
    values["grad_norm"] = clip_gradients(parameters, max_norm=trainer.clip_norm, max_value=trainer.clip_value)
    return values


def average_over_processes(trainer: Trainer, values: dict[str, Tensor]) -> None:
    """Makes the gradients and a step's ``values`` the means over the processes.

    A parameter that got a gradient somewhere counts as zero where it got none; where nobody has one, it stays without, as
    it would in a single process.
    """
    if distributed.world_size() == 1:
        return
    parameters = [p for p in trainer.model.parameters() if p.requires_grad]
    used = distributed.sum_numbers([p.grad is not None for p in parameters])
    for parameter, users in zip(parameters, used, strict=True):
        if users and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    distributed.average_tensors([p.grad for p in parameters if p.grad is not None])
    scalars = torch.stack([value.float() for value in values.values()])
    distributed.average_tensors([scalars])
    values.update(zip(values, scalars.unbind(), strict=True))
