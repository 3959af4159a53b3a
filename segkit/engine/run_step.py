"""One step of the optimizer: taken whole, left out, or as if it had not been begun."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from segkit.engine.buffers import any_of
from segkit.engine.epoch_objects import count_objects
from segkit.engine.interrupt import delayed_interrupt
from segkit.engine.nonfinite import are_finite, leave_out
from segkit.engine.step import compute_gradients
from segkit.utils import distributed

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer


def run_step(trainer: Trainer, batches: Iterable[Any]) -> None:
    """Forward and backward with each of the step's batches, then the optimizer's step; then the step is counted."""
    trainer.optimizer.zero_grad(set_to_none=True)  # here and not after the step: hooks may look at the gradients
    trainer.batches = []
    trainer.buffers.keep()
    try:
        values = compute_gradients(trainer, batches)
        counts = data_counts(trainer.batches)
        looked_at = (trainer.iteration + 1) % trainer.check_period == 0 and not trainer.scaler.is_enabled()
        skip = looked_at and not are_finite(values)  # fp16's scaler leaves bad steps out itself
        if skip:
            trainer.buffers.put_back()
            leave_out(trainer, values)
    except BaseException:
        trainer.buffers.put_back()
        raise
    with delayed_interrupt():
        trainer.sound = False
        if skip:
            trainer.buffers.put_back()  # once more: to name the layer, the forward pass was repeated
            trainer.skipped += 1
        else:
            _update(trainer, values)
        trainer.iteration += 1
        trainer.pending = list(trainer.named_hooks())  # here: a Ctrl-C is raised at the end of this block
        trainer.sound = True
        trainer.losses = {name.removeprefix("loss/"): v for name, v in values.items() if name.startswith("loss/")}
        trainer.metrics.count("skipped_steps", int(skip))
        trainer.epoch_objects.add(counts.pop("objects"))
        for name, number in counts.items():
            trainer.metrics.count(name, number)


def data_counts(batches: Iterable[Any]) -> dict[str, int]:
    """How many ``objects`` a step had, and what reading and transforms did to its objects and images, in all processes."""
    batches = list(batches)
    samples = [sample for batch in batches for sample in getattr(batch, "samples", ())]
    counts = {f"data/{name}": sum(getattr(s, name) for s in samples) for name in ("dropped", "rescued")}
    counts["data/skipped"] = sum(len(sample.skipped) for sample in samples)
    counts["objects"] = count_objects(batches)
    return dict(zip(counts, distributed.sum_numbers(list(counts.values())), strict=True))


def _update(trainer: Trainer, values: Mapping[str, Tensor]) -> None:
    overflowed = overflow(trainer)
    trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()
    if overflowed is not None:
        spoilt = trainer.buffers.spoilt()  # also by a value that no loss depends on
        trainer.buffers.put_back(overflowed if spoilt is None else any_of([overflowed, spoilt]))
    if trainer.averaged is not None:
        trainer.averaged.update(None if overflowed is None else ~overflowed)
    trainer.metrics.add(values)


def overflow(trainer: Trainer) -> Tensor | None:
    """Whether fp16's scaler will leave this step out: a bool scalar on the device, which only the device knows yet.

    It is the scaler's own flag, set where it divided the gradients by the loss scale. None: there is no scaler.
    """
    if not trainer.scaler.is_enabled():
        return None
    found = trainer.scaler._found_inf_per_device(trainer.optimizer).values()
    return any_of(flag.reshape(()) > 0 for flag in found)
