"""Diagnosis of a loss or gradient that is NaN or infinite: its iteration, images and layer.

A check before the update (:func:`are_finite`) finds the weights unchanged, so that repeating the forward pass with hooks
names the layer. On a CPU every step is checked. On a GPU a check waits for the device, so only the steps are checked
after which metrics are written. A NaN in between is found when they are written: the weights are NaN by then, and the
message says how to find out more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit.engine.metrics import DivergedError
from segkit.engine.replay import save_batches
from segkit.modeling.nonfinite import all_finite, first_not_finite, not_finite_state
from segkit.utils.errors import SegkitError

ADVICE = (
    "usual causes are a learning rate that is too high, no warm-up or no gradient clipping "
    "(solver.optimizer.lr, solver.schedule.warmup_iterations, solver.clip_norm)"
)


def are_finite(scalars: Mapping[str, Tensor]) -> bool:
    """Whether all scalars of a step are finite. Waits for the device once."""
    return bool(torch.isfinite(torch.stack([value.float() for value in scalars.values()])).all())


def culprit_names(names: Sequence[str]) -> list[str]:
    """Returns the single losses among ``names``; all ``names`` if there is none.

    The total and the gradient norm only follow from the single losses.
    """
    return [name for name in names if name not in ("loss/total", "grad_norm")] or list(names)


@dataclass(frozen=True)
class RepeatableStep:
    """A step with a NaN, and what is needed to repeat it and to save its batches.

    Attributes:
        model: with the weights that it has now.
        batches: those of the step so far; empty: they are not known any more.
        step: number of the step, from 0.
        device: where the losses are computed.
        losses: returns the losses of (batch on the device, step, number of the batch).
        no_sync: context in which a backward pass stays this process's own.
        output_dir: where the file with the batches goes.
        about: added to the file with batches and weights, see :func:`segkit.engine.replay.save_batches`.
    """

    model: nn.Module
    batches: Sequence[Any]
    step: int
    device: torch.device
    losses: Callable[[Any, int, int], dict[str, Tensor]]
    no_sync: Callable[[], AbstractContextManager[None]]
    output_dir: Path
    about: Mapping[str, Any]

    def explain(self, scalars: Mapping[str, Tensor]) -> tuple[str, bool]:
        """Saves the batches of a step that has not changed the weights, and names the cause.

        Returns:
            the message, and whether training can go on without the step: False if the weights themselves are not finite.
        """
        names = culprit_names([name for name, value in scalars.items() if not all_finite(value)])
        message = f"{', '.join(names)} became NaN or infinite in iteration {self.step + 1}{self.images()}. {self.find_layer()}"
        finite = not not_finite_state(self.model)
        return message + self.save(weights=finite), finite

    def overflow_error(self, error: DivergedError) -> SegkitError:
        """Returns the error for steps that fp16's scaler has skipped, of which this is the last."""
        return SegkitError(f"{error}{self.images()}. {self.find_layer()}{self.save(weights=True)}; {ADVICE}")

    def images(self) -> str:
        """Returns a clause with the names of the step's images; empty if they have none."""
        names = [str(name) for batch in self.batches for name in getattr(batch, "file_names", None) or ()]
        return f" (images {', '.join(names)})" if names else ""

    def save(self, *, weights: bool) -> str:
        """Writes the file with the step's batches, and returns a clause that names it."""
        model = self.model if weights else None
        return save_batches(self.output_dir, self.batches, step=self.step, model=model, about=self.about)

    def find_layer(self) -> str:
        """Returns a sentence on where the step stops being finite."""
        state = not_finite_state(self.model)
        if state:
            return f"Already before this step {_not_finite(state)} not finite"
        if not self.batches:
            return "The batch is not available any more"
        for part, batch in enumerate(self.batches):
            batch = batch.to(self.device)
            which = f"batch {part + 1} of {len(self.batches)}" if len(self.batches) > 1 else "the batch"
            images = batch.images if isinstance(batch.images, (list, tuple)) else [batch.images]
            bad = [i for i, image in enumerate(images) if not all_finite(image)]
            if bad:
                return f"Image {bad[0]} of {which} holds values that are not finite"
            try:
                with self.no_sync():
                    culprit = self._repeat(batch, part)
            except Exception as error:  # the NaN is the error to report
                return f"The step could not be repeated to find the layer ({type(error).__name__}: {error})"
            if culprit is not None:
                culprit = culprit[0].upper() + culprit[1:]
                return culprit if len(self.batches) == 1 else f"In {which}: {culprit}"
        return "Repeating the step gave finite losses and gradients"

    def _repeat(self, batch: Any, part: int) -> str | None:
        """Repeats forward and backward pass of a batch, and returns what is not finite in them; None: nothing."""
        culprit = first_not_finite(self.model, lambda: self.losses(batch, self.step, part))
        if culprit:
            return culprit
        losses = self.losses(batch, self.step, part)
        if not all_finite(losses):
            return "all layers' outputs are finite: it is the computation of the loss itself, or its targets"
        self.model.zero_grad(set_to_none=True)  # clipping has made all gradients NaN
        torch.stack([loss.float() for loss in losses.values()]).sum().backward()
        bad = [name for name, p in self.model.named_parameters() if p.grad is not None and not all_finite(p.grad)]
        if bad:  # the backward pass goes from the last layer to the first
            return f"the losses are finite, but {len(bad)} gradients are not, of which {bad[-1]}'s is the last"
        return None


def late_error(error: DivergedError, first: RepeatableStep) -> SegkitError:
    """Returns the error for losses that were found to be NaN after the weights had changed.

    Args:
        error: of the metrics.
        first: the first of the steps with a NaN.
    """
    state = not_finite_state(first.model)
    weights = f"; {_not_finite(state)} not finite any more" if state else ""
    return SegkitError(
        f"{error}; it began in iteration {first.step + 1}{first.images()}{weights}{first.save(weights=False)}; {ADVICE}. "
        "To have the layer named, resume an earlier checkpoint with train.log_period=1 (--resume)"
    )


def _not_finite(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more parameters are"
