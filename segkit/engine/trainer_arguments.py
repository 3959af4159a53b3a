"""Checks of a trainer's arguments, batches and losses, before the first update."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from segkit.solver.schedules import Schedule
from segkit.utils.device import AUTOCAST_DTYPES
from segkit.utils.errors import SegkitError

HOOK_METHODS = ("name", "before_train", "before_step", "after_step", "after_train", "on_exception", "state_dict")
LOWEST = {"check_period": 1, "max_skipped": 0, "accumulate": 1, "iterations_per_epoch": 1}


def check_arguments(model: Any, optimizer: Any, schedule: Any, hooks: Any, **settings: Any) -> None:
    """Checks all that is known before the first step; see the functions below."""
    check_model_and_optimizer(model, optimizer)
    check_schedule(schedule)
    check_hooks(hooks)
    check_settings(**settings)


def check_schedule(schedule: Any) -> None:
    """Raises SegkitError unless it is a :class:`Schedule`, or has its ``factor``."""
    if isinstance(schedule, ReduceLROnPlateau):
        raise SegkitError(
            "schedule is torch's ReduceLROnPlateau, which follows a metric; the trainer takes a function of the iteration, as "
            "Cosine() or MultiStep() of segkit.solver",
            key="schedule",
        )
    if isinstance(schedule, LRScheduler):
        name = type(schedule).__name__
        raise SegkitError(
            f"schedule is torch's {name}, which counts its own steps; the trainer takes a function of the iteration: "
            f"segkit.solver.TorchSchedule({name}, {{...}}), with the arguments of {name} except the optimizer",
            key="schedule",
        )
    if isinstance(schedule, type):
        raise SegkitError(f"schedule is the class {schedule.__name__}; give an object, {schedule.__name__}(...)")
    if not isinstance(schedule, Schedule) and not callable(getattr(schedule, "factor", None)):
        raise SegkitError(
            f"schedule: expected a segkit.solver.Schedule, as Constant() or Cosine(), not {_described(schedule)}",
            key="schedule",
        )


def check_model_and_optimizer(model: Any, optimizer: Any) -> None:
    """Raises SegkitError for a model without ``losses``, and for another model's optimizer."""
    if not isinstance(model, nn.Module) or not callable(getattr(model, "losses", None)):
        raise SegkitError(
            f"model: expected a torch.nn.Module with losses(images, targets, generator), not {_described(model)}",
            key="model",
        )
    if not isinstance(getattr(optimizer, "param_groups", None), list):
        raise SegkitError(f"optimizer: expected one of torch.optim, not {_described(optimizer)}", key="optimizer")
    own = {id(parameter) for parameter in model.parameters()}
    given = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if own and given and not any(id(parameter) in own for parameter in given):
        raise SegkitError(
            "none of the optimizer's parameters is the model's, so nothing would train: make the optimizer from "
            "model.parameters(), after the last copy of the model",
            key="optimizer",
        )


def check_hooks(hooks: Any) -> None:
    """Raises SegkitError unless they are objects with all methods of a hook, in a sequence."""
    if not isinstance(hooks, Sequence):
        raise SegkitError(f"hooks: expected a list, not {_described(hooks)}", key="hooks")
    for i, hook in enumerate(hooks):
        if isinstance(hook, type):
            raise SegkitError(f"hooks[{i}] is the class {hook.__name__}; give an object, {hook.__name__}(...)")
        if not all(hasattr(hook, method) for method in HOOK_METHODS):
            raise SegkitError(
                f"hooks[{i}]: expected an object that derives from segkit.engine.Hook, not {_described(hook)}",
                key="hooks",
            )


def check_settings(*, precision: Any, check_period: int, max_skipped: int, **settings: Any) -> None:
    """Raises SegkitError for a setting out of its range.

    Args:
        settings: others by name. Those that begin with ``clip`` are above 0 or None, ``accumulate`` and
            ``iterations_per_epoch`` are at least 1; the rest are any integers.
    """
    if precision not in ("fp32", *AUTOCAST_DTYPES):
        raise SegkitError(
            f"precision: expected fp32, bf16 or fp16, not {precision!r}", key="precision", value=precision
        )
    for name, value in {"check_period": check_period, "max_skipped": max_skipped, **settings}.items():
        if name.startswith("clip"):
            if value is not None and not (isinstance(value, (int, float)) and value > 0 and not math.isnan(value)):
                raise SegkitError(f"{name}: expected a number above 0, or None, not {value!r}", key=name, value=value)
            continue
        low = LOWEST.get(name, -math.inf)
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < low:
            bound = f" of {low} or more" if name in LOWEST else ""
            raise SegkitError(f"{name}: expected an integer{bound}, not {value!r}", key=name, value=value)
    if max_skipped and check_period != 1:
        raise SegkitError(f"max_skipped takes a check_period of 1, got {check_period}", key="check_period")


def check_batch(batch: Any) -> None:
    """Raises SegkitError for anything but a batch, as for the tuples of a plain DataLoader."""
    missing = [name for name in ("images", "targets", "to") if not hasattr(batch, name)]
    if missing:
        raise SegkitError(
            f"loader: expected batches with images, targets and to(device, non_blocking), not {_described(batch)}, which lacks "
            f"{', '.join(missing)}; segkit.structures.Batch is one, and Batch.collate a DataLoader's collate_fn",
            key="loader",
        )


def check_losses(losses: Any, model: Any) -> None:
    """Raises SegkitError unless they are scalars by name."""
    what = f"{type(model).__name__}.losses"
    if losses == {}:
        raise SegkitError(f"{what} returns no loss: nothing would train")
    if not isinstance(losses, Mapping):
        raise SegkitError(f"{what}: expected a dict of scalar tensors by name, not {_described(losses)}")
    for name, loss in losses.items():
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            shape = f"a tensor {list(loss.shape)}" if isinstance(loss, Tensor) else _described(loss)
            raise SegkitError(f"{what}: expected a scalar tensor for '{name}', not {shape}")
    if "total" in losses:
        raise SegkitError(f"{what}: 'total' is the name of the sum of all losses; rename the loss of that name")
    if torch.is_grad_enabled() and not any(loss.requires_grad for loss in losses.values()):
        raise SegkitError(f"{what}: no loss depends on a parameter that trains (requires_grad), so nothing would train")


class RenamedAttribute(SegkitError, AttributeError):
    """An attribute of a trainer has another name now."""


RENAMED = {"averaged": "ema", "averaged_weights": "ema_weights", "sound": "consistent"}


class RenamedAttributes:
    """Former names of a trainer's attributes are errors that name the current one."""

    if not TYPE_CHECKING:  # a type checker would accept any attribute

        def __getattr__(self, name: str) -> NoReturn:
            if name in RENAMED:
                raise RenamedAttribute(f"trainer.{name} is trainer.{RENAMED[name]} now")
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'", name=name, obj=self)


def _described(value: Any) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
