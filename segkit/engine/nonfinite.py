"""A loss that is NaN or infinite: which iteration, which images, which layer, and what to do.

The look before an optimizer's step (:func:`check_step`) finds the weights as they were, so that repeating the forward
pass with hooks names the layer. On a CPU the loss is at hand, and each step is looked at; on a GPU every look waits for
it, so only the steps are looked at after which the metrics are written. What falls between is found when these are
written: by then the weights are NaN, and the message says how to see more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from segkit.engine.metrics import DivergedError
from segkit.modeling.nonfinite import all_finite, first_not_finite, not_finite_state
from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer

ADVICE = (
    "usual causes are a learning rate that is too high, no warm-up or no gradient clipping "
    "(solver.optimizer.lr, solver.schedule.warmup_iterations, solver.clip_norm)"
)


def check_step(trainer: Trainer, values: Mapping[str, Tensor]) -> None:
    """Refuse a step whose losses or gradient norm are not finite. The gradients are there, the step is not yet taken.

    Args:
        values: the step's scalars by name.
    Raises:
        SegkitError: with iteration, images and layer.
    """
    if bool(torch.isfinite(torch.stack([value.detach().float() for value in values.values()])).all()):
        return
    trainer.metrics.add(values)  # nobody shall take this for a state to go on from
    names = culprit_names([name for name, value in values.items() if not all_finite(value)])
    raise SegkitError(
        f"training diverged: {', '.join(names)} became NaN or infinite in iteration {trainer.iteration + 1}"
        f"{_of_images(trainer.batch)}. {_find_layer(trainer, trainer.iteration)}; {ADVICE}"
    )


def explain_late(trainer: Trainer, error: DivergedError) -> SegkitError:
    """The same for what was found after the step: the error with all that can still be known."""
    if trainer.scaler.is_enabled():  # it skips such steps, so the weights are finite, and this step is one of them
        return SegkitError(
            f"{error}{_of_images(trainer.batch)}. {_find_layer(trainer, trainer.iteration - 1)}; {ADVICE}"
        )
    first = trainer.iteration + 1 - error.count  # once the weights are NaN, all that follows is
    state = not_finite_state(trainer.model)
    weights = f"; {_told(state)} not finite any more" if state else ""
    return SegkitError(
        f"{error}; it began in iteration {first}{_of_images(_batch_at(trainer, first - 1))}{weights}; {ADVICE}. "
        "To have the layer named, go on from an earlier checkpoint with train.log_period=1 (--resume)"
    )


def culprit_names(names: Sequence[str]) -> list[str]:
    """The parts among the names of losses; their sum and the gradient follow from them."""
    return [name for name in names if name not in ("loss/total", "grad_norm")] or list(names)


def _find_layer(trainer: Trainer, step: int) -> str:
    """A sentence on where the values of step number ``step`` (from 0) stop being finite."""
    state = not_finite_state(trainer.model)
    if state:
        return f"Already before this step {_told(state)} not finite"
    batch = trainer.batch
    if batch is None:
        return "The batch is not there any more to be looked at"
    images = batch.images if isinstance(batch.images, (list, tuple)) else [batch.images]
    bad = [i for i, image in enumerate(images) if not all_finite(image)]
    if bad:
        return f"Image {bad[0]} of the batch holds values that are not finite"
    try:
        culprit = first_not_finite(trainer.model, lambda: _losses_again(trainer, step))
        if culprit:
            return culprit[0].upper() + culprit[1:]
        losses = _losses_again(trainer, step)
        if not all_finite(losses):
            return "All layers' outputs are finite: it is the computation of the loss itself, or its targets"
        trainer.optimizer.zero_grad(set_to_none=True)  # clipping has made all gradients NaN
        torch.stack([loss.float() for loss in losses.values()]).sum().backward()
    except Exception as error:  # what went wrong first is what is to be told
        return f"The step could not be repeated to find the layer ({type(error).__name__}: {error})"
    gradients = [name for name, p in trainer.model.named_parameters() if p.grad is not None and not all_finite(p.grad)]
    if gradients:  # backward goes from the last layer to the first
        return f"The losses are finite, but {len(gradients)} gradients are not, of which {gradients[-1]}'s is the last"
    return "Repeating the step gave finite losses and gradients"


def _losses_again(trainer: Trainer, step: int) -> dict[str, Tensor]:
    generator = trainer.seed_step(step)
    with trainer.autocast():
        return trainer.model.losses(trainer.batch.images, trainer.batch.targets, generator)


def _told(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more parameters are"


def _of_images(batch: Any) -> str:
    names = getattr(batch, "file_names", None)
    return f" (images {', '.join(map(str, names))})" if names else ""


def _batch_at(trainer: Trainer, step: int) -> Any:
    """The batch of an earlier step, where the loader can load it once more."""
    load = getattr(trainer.loader, "batch_at", None)
    try:
        return load(step) if load is not None and step >= 0 else None
    except (SegkitError, OSError):
        return None  # the message can do without
