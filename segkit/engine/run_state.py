"""What a run is at a moment between two steps, and how it is put back there."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from segkit.engine.ema import ema_state, restore_ema
from segkit.engine.hook_names import saved_names
from segkit.engine.plain_values import check_plain
from segkit.engine.rng import rng_state, set_rng_state
from segkit.engine.train_loop import Hook, TrainerBase
from segkit.modeling.nonfinite import all_finite
from segkit.solver.learning_rates import RATE_KEYS
from segkit.solver.parameter_groups import named_state, reordered_state
from segkit.utils import distributed
from segkit.utils.errors import SegkitError
from segkit.utils.seeding import STREAMS_VERSION

logger = logging.getLogger(__name__)


def training_state(trainer: TrainerBase, pending: Sequence[str] = (), *, rescue: bool = False) -> dict[str, Any]:
    """Everything a run is, as :func:`save_checkpoint` takes it.

    Args:
        pending: the hooks that have still to run for this iteration.
        rescue: leave out the state of a hook that fails to give it, and say so in the log, rather than lose the run.
    """
    states: dict[str, dict[str, Any]] = {}
    classes: dict[str, str] = {}
    for name, hook in trainer.named_hooks().items():
        if not hook.keeps_state:
            continue
        try:
            states[name] = hook.state_dict()
            check_plain(states[name], f"checkpoint['hooks'][{name!r}]")
            classes[name] = type(hook).__name__
        except Exception as error:
            if not rescue:
                raise
            states[name] = {}
            logger.error("the state of %s is not saved: %s: %s", name, type(error).__name__, error)
    return {
        "version": 1,
        **trainer.about,
        "model": dict(trainer.ema.model_state() if trainer.ema else trainer.model.state_dict()),
        "ema": trainer.ema.state_dict() if trainer.ema else None,
        "skipped": trainer.skipped,
        "iteration": trainer.iteration,
        "optimizer": named_state(trainer.optimizer, trainer.model),
        "optimizer_class": type(trainer.optimizer).__name__,
        "schedule": {
            "max_iterations": trainer.max_iterations,
            "iterations_per_epoch": trainer.iterations_per_epoch,
        },
        "epoch_shift": trainer.epoch_shift,
        "scaler": trainer.scaler.state_dict(),
        "hooks": {name: state for name, state in states.items() if state},
        "hook_classes": classes,
        "pending": list(pending),
        "metrics": trainer.metrics.state_dict(),
        "evaluation": dict(trainer.evaluation),
        "evaluated_at": trainer.evaluated_at,
        "processes": distributed.world_size(),
        "infinite_buffers": list(trainer.infinite_buffers),
        "streams": STREAMS_VERSION,
        "rng": rng_state(),
    }


def not_finite_name(state: Mapping[str, Any], allowed: Collection[str]) -> str | None:
    """The first weight or buffer of a checkpoint that holds NaN or infinity; None: none does.

    Args:
        allowed: names of buffers that may.
    """
    weights = (ema_state(state) or {}).get("weights", {})
    for name, value in [*state.get("model", {}).items(), *weights.items()]:
        if name not in allowed and not all_finite(value):
            return name
    return None


def restore(trainer: TrainerBase, state: Mapping[str, Any]) -> None:
    """Puts a run back where ``state`` was taken; its next step is the one that would have followed.

    The optimizer's hyperparameters stay those of the present configuration: a resumed run obeys what it is told now. Moments
    go to the parameters of their names and states to the hooks of theirs; what finds no place, or nothing, is told.

    Raises:
        SegkitError: the checkpoint is of another model or of other parameters that train, or it holds NaN.
    """
    if (bad := not_finite_name(state, trainer.infinite_buffers)) is not None:
        raise SegkitError(
            f"the checkpoint's {bad} is NaN or infinite, so it cannot be resumed: that training had diverged. Go on from "
            "an earlier checkpoint, or start anew from other weights"
        )
    try:
        trainer.model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise SegkitError(
            f"the checkpoint is of another model than the configuration's, so it cannot be resumed; {error}"
        ) from error
    restore_ema(trainer.model, trainer.ema, ema_state(state))
    trainer.skipped = state.get("skipped", 0)
    _restore_optimizer(trainer.optimizer, trainer.model, state)
    if state["scaler"] and trainer.scaler.is_enabled():
        trainer.scaler.load_state_dict(state["scaler"])
    trainer.pending = _restore_hooks(trainer.named_hooks(), state)
    if distributed.is_main():
        _tell_what_changed(trainer, state)
    trainer.iteration = state["iteration"]
    trainer.metrics.load_state_dict(state["metrics"], trainer.device)
    trainer.evaluation, trainer.evaluated_at = dict(state["evaluation"]), state["evaluated_at"]
    set_rng_state(state["rng"])


def _restore_hooks(hooks: Mapping[str, Hook], state: Mapping[str, Any]) -> list[str]:
    """Gives the hooks their states, by name; the names of the present ones that have still to run for the iteration.

    A state is for a hook of its class only.
    """
    classes: Mapping[str, str] | None = state.get("hook_classes")  # older checkpoints have none
    names = saved_names(state["hooks"], classes, hooks)
    for saved, hook_state in state["hooks"].items():
        kind = (classes or {}).get(saved, saved.partition("#")[0])
        if saved not in names:
            logger.warning("the checkpoint has the state of a hook %s (%s), which this run does not have", saved, kind)
            continue
        hook = hooks[names[saved]]
        if type(hook).__name__ != kind:
            logger.warning(
                "the hook %s was a %s when the checkpoint was written and is a %s now: it begins anew",
                saved, kind, type(hook).__name__,
            )  # fmt: skip
            continue
        hook.load_state_dict(hook_state)
    for name, hook in hooks.items():
        if classes is not None and hook.keeps_state and name not in classes:
            logger.warning(
                "the checkpoint has no state for the hook %s (%s): it begins anew", name, type(hook).__name__
            )
    pending = saved_names(state["pending"], classes, hooks)
    return [pending[name] for name in state["pending"] if name in pending]


def _tell_what_changed(trainer: TrainerBase, state: Mapping[str, Any]) -> None:
    """Of what is no key of the configuration."""
    if state.get("streams", 1) != STREAMS_VERSION:
        logger.warning(
            "the checkpoint was written by a segkit that drew its random numbers from other streams: the run goes on with the "
            "same weights, and with images in another order. In this epoch some may come twice and others not at all"
        )
    processes = distributed.world_size()
    if (before := state.get("processes", processes)) != processes:
        logger.warning(
            "the number of processes was %d when the checkpoint was written and is %d now: the images of each step stay the "
            "same, what the model draws does not; so the run is not to the bit what it would have been",
            before, processes,
        )  # fmt: skip
    for key, value in state["schedule"].items():
        if (now := getattr(trainer, key)) != value:
            logger.warning("%s was %s when the checkpoint was written and is %s now", key, value, now)


def _restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, state: Mapping[str, Any]) -> None:
    """Puts the moments back, and leaves the hyperparameters; an optimizer of another class begins without moments.

    Raises:
        SegkitError: they are of other parameters.
    """
    name = type(optimizer).__name__
    if (before := state.get("optimizer_class", name)) != name:
        logger.warning("the optimizer was %s and is %s now: it begins anew, without moments", before, name)
        return
    hyper = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(reordered_state(state["optimizer"], optimizer, model))
    except ValueError as error:
        raise SegkitError(
            f"the checkpoint's optimizer does not fit this run's ({error}): what trains has changed since. "
            "To start anew from its weights, set train.init_weights to it"
        ) from error
    for group, values in zip(optimizer.param_groups, hyper, strict=True):
        for key in RATE_KEYS:
            group.pop(key, None)  # the saved rates, too
        group.update(values)
