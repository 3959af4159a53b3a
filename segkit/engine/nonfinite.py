"""A loss that is NaN or infinite: which iteration, which images, which layer, and what to do.

The look before an optimizer's step (:func:`are_finite`) finds the weights as they were, so that repeating the forward
pass with hooks names the layer. On a CPU the loss is at hand, and each step is looked at; on a GPU every look waits for
it, so only the steps are looked at after which the metrics are written. What falls between is found when these are
written: by then the weights are NaN, and the message says how to see more.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from segkit.engine.batch_file import save_batches
from segkit.engine.metrics import DivergedError
from segkit.modeling.nonfinite import all_finite, first_not_finite, not_finite_state
from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer

logger = logging.getLogger(__name__)
ADVICE = (
    "usual causes are a learning rate that is too high, no warm-up or no gradient clipping "
    "(solver.optimizer.lr, solver.schedule.warmup_iterations, solver.clip_norm)"
)


def are_finite(values: Mapping[str, Tensor]) -> bool:
    """Whether a step's scalars are all finite. It waits for the device, once."""
    return bool(torch.isfinite(torch.stack([value.float() for value in values.values()])).all())


def leave_out(trainer: Trainer, values: Mapping[str, Tensor]) -> None:
    """Tells of a step whose losses or gradient norm are not finite, before the optimizer's step; the run goes on
    without it where ``max_skipped`` allows that.

    Args:
        values: the step's scalars by name.
    Raises:
        SegkitError: the run is not to go on: with iteration, images, layer and the file that the batch is in.
    """
    names = culprit_names([name for name, value in values.items() if not all_finite(value)])
    iteration = trainer.iteration + 1
    told = (
        f"{', '.join(names)} became NaN or infinite in iteration {iteration}{_of_images(trainer.batches)}. "
        f"{_find_layer(trainer, trainer.iteration)}"
    )
    spoilt = bool(not_finite_state(trainer.model))  # without this step the weights would be no better
    told += save_batches(trainer, trainer.iteration, trainer.batches, weights=not spoilt)
    if trainer.skipped < trainer.max_skipped and not spoilt:
        logger.warning("step left out (%d of at most %d): %s", trainer.skipped + 1, trainer.max_skipped, told)
        return
    trainer.metrics.add(values)  # nobody shall take this for a state to go on from
    before = f" after {trainer.skipped} steps were left out" if trainer.skipped else ""
    raise SegkitError(f"training diverged{before}: {told}; {ADVICE}")


def explain_late(trainer: Trainer, error: DivergedError) -> SegkitError:
    """The same for what was found after the step: the error with all that can still be known."""
    if trainer.scaler.is_enabled():  # it skips such steps, so the weights are finite, and this step is one of them
        step = trainer.iteration - 1
        layer = _find_layer(trainer, step)
        file = save_batches(trainer, step, trainer.batches)
        return SegkitError(f"{error}{_of_images(trainer.batches)}. {layer}{file}; {ADVICE}")
    first = trainer.iteration + 1 - error.count  # once the weights are NaN, all that follows is
    batches = _batches_at(trainer, first - 1)
    state = not_finite_state(trainer.model)
    weights = f"; {_told(state)} not finite any more" if state else ""
    return SegkitError(
        f"{error}; it began in iteration {first}{_of_images(batches)}{weights}"
        f"{save_batches(trainer, first - 1, batches, weights=False)}; {ADVICE}. "
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
    if not trainer.batches:
        return "The batch is not there any more to be looked at"
    for part, batch in enumerate(trainer.batches):
        batch = batch.to(trainer.device)
        which = f"batch {part + 1} of {len(trainer.batches)}" if len(trainer.batches) > 1 else "the batch"
        images = batch.images if isinstance(batch.images, (list, tuple)) else [batch.images]
        bad = [i for i, image in enumerate(images) if not all_finite(image)]
        if bad:
            return f"Image {bad[0]} of {which} holds values that are not finite"
        try:
            culprit = _look_again(trainer, batch, step, part)
        except Exception as error:  # what went wrong first is what is to be told
            return f"The step could not be repeated to find the layer ({type(error).__name__}: {error})"
        if culprit is not None:
            culprit = culprit[0].upper() + culprit[1:]
            return culprit if len(trainer.batches) == 1 else f"In {which}: {culprit}"
    return "Repeating the step gave finite losses and gradients"


def _look_again(trainer: Trainer, batch: Any, step: int, part: int) -> str | None:
    """What is not finite when a batch goes forward and backward once more; None: nothing."""
    culprit = first_not_finite(trainer.model, lambda: trainer.batch_losses(batch, step, part))
    if culprit:
        return culprit
    losses = trainer.batch_losses(batch, step, part)
    if not all_finite(losses):
        return "all layers' outputs are finite: it is the computation of the loss itself, or its targets"
    trainer.optimizer.zero_grad(set_to_none=True)  # clipping has made all gradients NaN
    torch.stack([loss.float() for loss in losses.values()]).sum().backward()
    gradients = [name for name, p in trainer.model.named_parameters() if p.grad is not None and not all_finite(p.grad)]
    if gradients:  # backward goes from the last layer to the first
        return f"the losses are finite, but {len(gradients)} gradients are not, of which {gradients[-1]}'s is the last"
    return None


def _told(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more parameters are"


def _of_images(batches: Sequence[Any]) -> str:
    names = [str(name) for batch in batches for name in getattr(batch, "file_names", None) or ()]
    return f" (images {', '.join(names)})" if names else ""


def _batches_at(trainer: Trainer, step: int) -> list[Any]:
    """The batches of an earlier step, where the loader can load them once more."""
    load = getattr(trainer.loader, "batches_at", None)
    try:
        return load(step + trainer.epoch_shift) if load is not None and step >= 0 else []
    except (SegkitError, OSError):
        return []  # the message can do without
