"""Collects the trainer's state for a checkpoint, and restores it from one."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from segkit.engine.checkpoint import check_plain, first_not_finite_name, upgrade_checkpoint
from segkit.engine.ema import restore_ema
from segkit.engine.hook_names import saved_names
from segkit.engine.train_loop import TrainerBase
from segkit.solver.learning_rates import RATE_KEYS
from segkit.solver.parameter_groups import named_state, reordered_state
from segkit.structures.score_thresholds import ScoreThresholds
from segkit.utils import distributed
from segkit.utils.errors import SegkitError
from segkit.utils.seeding import STREAMS_VERSION

logger = logging.getLogger(__name__)


def training_state(trainer: TrainerBase, pending: Sequence[str] = (), *, rescue: bool = False) -> dict[str, Any]:
    """Returns the trainer's state, with the keys listed in :mod:`segkit.engine.checkpoint`.

    Args:
        trainer: between two steps.
        pending: names of the hooks that have not yet run for this iteration.
        rescue: skip the state of a hook whose ``state_dict`` fails, with an error in the log, instead of losing the run.
    """
    hook_states, hook_classes = _hook_states(trainer, rescue)
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
        "hooks": {name: state for name, state in hook_states.items() if state},
        "hook_classes": hook_classes,
        "pending": list(pending),
        "metrics": trainer.metrics.state_dict(),
        "evaluation": dict(trainer.evaluation),
        "evaluated_at": trainer.evaluated_at,
        "score_thresholds": trainer.score_thresholds and trainer.score_thresholds.to_dict(),
        "processes": distributed.world_size(),
        "infinite_buffers": list(trainer.infinite_buffers),
        "streams": STREAMS_VERSION,
        "rng": rng_state(),
    }


def restore(trainer: TrainerBase, state: Mapping[str, Any]) -> None:
    """Restores the trainer from a checkpoint: its next step is the one that would have followed.

    The optimizer's hyperparameters stay those of the current configuration. Moments are restored by parameter name, the
    hooks' states by hook name; the log names what has no counterpart.

    Raises:
        SegkitError: the checkpoint has another model or other trainable parameters, or holds NaN.
    """
    state = upgrade_checkpoint(state, {name for name, _ in trainer.model.named_parameters(remove_duplicate=False)})
    if (bad := first_not_finite_name(state, trainer.infinite_buffers)) is not None:
        raise SegkitError(
            f"the checkpoint's {bad} is NaN or infinite, so it cannot be resumed: the training had diverged. Resume from "
            "an earlier checkpoint, or start a new run from other weights"
        )
    try:
        trainer.model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise SegkitError(
            f"the checkpoint holds another model than the configuration's, so it cannot be resumed; {error}"
        ) from error
    restore_ema(trainer.model, trainer.ema, state.get("ema"))
    trainer.skipped = state.get("skipped", 0)
    _restore_optimizer(trainer.optimizer, trainer.model, state)
    if state["scaler"] and trainer.scaler.is_enabled():
        trainer.scaler.load_state_dict(state["scaler"])
    trainer.pending = _restore_hooks(trainer, state)
    if distributed.is_main():
        _warn_of_differences(trainer, state)
    trainer.iteration = state["iteration"]
    trainer.metrics.load_state_dict(state["metrics"], trainer.device)
    trainer.evaluation, trainer.evaluated_at = dict(state["evaluation"]), state["evaluated_at"]
    thresholds = state.get("score_thresholds")  # missing in older checkpoints
    trainer.score_thresholds = None if thresholds is None else ScoreThresholds.of_dict(thresholds)
    set_rng_state(state["rng"])


def _hook_states(trainer: TrainerBase, rescue: bool) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Returns state and class of each hook that keeps a state, by hook name."""
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
    return states, classes


def _restore_hooks(trainer: TrainerBase, state: Mapping[str, Any]) -> list[str]:
    """Restores the hooks' states by name, where the class is the same.

    Returns:
        The names of the current hooks that have not yet run for the checkpoint's iteration.
    """
    hooks = trainer.named_hooks()
    classes: Mapping[str, str] | None = state.get("hook_classes")  # missing in older checkpoints
    names = saved_names(state["hooks"], classes, hooks)
    for saved, hook_state in state["hooks"].items():
        saved_class = (classes or {}).get(saved, saved.partition("#")[0])
        if saved not in names:
            logger.warning(
                "the checkpoint has the state of a hook %s (%s), which this run does not have", saved, saved_class
            )
            continue
        hook = hooks[names[saved]]
        if type(hook).__name__ != saved_class:
            logger.warning(
                "the hook %s was a %s when the checkpoint was written and is a %s now: it starts without a state",
                saved, saved_class, type(hook).__name__,
            )  # fmt: skip
            continue
        hook.load_state_dict(hook_state)
    for name, hook in hooks.items():
        if classes is not None and hook.keeps_state and name not in classes:
            logger.warning(
                "the checkpoint has no state for the hook %s (%s): it starts without a state", name, type(hook).__name__
            )
    pending = saved_names(state["pending"], classes, hooks)
    return [pending[name] for name in state["pending"] if name in pending]


def _warn_of_differences(trainer: TrainerBase, state: Mapping[str, Any]) -> None:
    """Warns of differences between checkpoint and run that are not keys of the configuration."""
    if state.get("streams", 1) != STREAMS_VERSION:
        logger.warning(
            "the checkpoint was written by a segkit that drew its random numbers from other streams: the run "
            "continues with the same weights and the images in another order. In this epoch some images may come twice, others "
            "not at all"
        )
    processes = distributed.world_size()
    if (before := state.get("processes", processes)) != processes:
        logger.warning(
            "the number of processes was %d when the checkpoint was written and is %d now: each step has the same images, "
            "but the model draws other random numbers, so the run is not bit for bit the uninterrupted one",
            before, processes,
        )  # fmt: skip
    for key, value in state["schedule"].items():
        if (now := getattr(trainer, key)) != value:
            logger.warning("%s was %s when the checkpoint was written and is %s now", key, value, now)


def _restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, state: Mapping[str, Any]) -> None:
    """Restores the moments and leaves the hyperparameters.

    An optimizer of another class starts without moments.

    Raises:
        SegkitError: the moments belong to other parameters.
    """
    name = type(optimizer).__name__
    if (before := state.get("optimizer_class", name)) != name:
        logger.warning("the optimizer was %s and is %s now: it starts without moments", before, name)
        return
    present = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(reordered_state(state["optimizer"], optimizer, model))
    except ValueError as error:
        raise SegkitError(
            f"the checkpoint's optimizer does not fit this run's ({error}): other parameters train now. "
            "To start a new run from its weights, set train.init_weights to the checkpoint"
        ) from error
    for group, settings in zip(optimizer.param_groups, present, strict=True):
        for key in RATE_KEYS:
            group.pop(key, None)  # the checkpoint's learning rates
        group.update(settings)


def rng_state() -> dict[str, Any]:
    """Returns the states of torch's, CUDA's, NumPy's and Python's random generators."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": random.getstate(),
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Restores :func:`rng_state`; states of GPUs that do not exist here are skipped."""
    torch.set_rng_state(state["torch"])
    for index, cuda_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(cuda_state, index)
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
