"""A run on disk: what is saved, and how it comes back.

A checkpoint is a dictionary of tensors and plain values, which torch loads with ``weights_only=True``:

==============  ====================================================================================================
model           the model's state dict; where weights are averaged, the average: what one predicts with
averaged        where they are: how many steps it covers, and the weights themselves
skipped         steps left out because something in them was not finite
config          the whole resolved configuration, as plain values
classes         class names, by label
category_ids    the ids that the data set's files have for them
iteration       steps done
optimizer       the optimizer's state dict
schedule        max_iterations and iterations_per_epoch, from which a schedule works (it has no state of its own)
scaler          the loss scaler's state dict (fp16)
hooks           the hooks' state by name
pending         hooks that had still to run for this iteration, where the run was interrupted between two steps
metrics         what had been measured and not yet written
evaluation      the last evaluation's metrics
rng             states of the global random generators: torch, cuda, numpy, python
version         of this layout
==============  ====================================================================================================
"""

from __future__ import annotations

import logging
import pickle
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segkit.engine.averaging import restore_average
from segkit.engine.trainer import Trainer
from segkit.solver.parameter_groups import reordered_state
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
LAST = "last_checkpoint"
_PLAIN = (torch.Tensor, str, bytes, int, float, bool, type(None))


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Writes ``state`` whole or not at all.

    Raises:
        TypeError: something in it is neither a tensor nor a plain value; the message says where.
    """
    _check_plain(state, "checkpoint")
    with atomic_write(path) as temporary:
        torch.save(dict(state), temporary)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A segkit checkpoint, on the CPU.

    Raises:
        SegkitError: no such file, a broken one, or one of something else.
    """
    path = Path(path)
    if not path.is_file():
        raise SegkitError(f"no checkpoint at '{path}'", value=str(path))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        message = f"'{path}' cannot be read as a checkpoint; it may be damaged ({reason})"
        raise SegkitError(message, value=str(path)) from error
    if not isinstance(state, dict) or "model" not in state or "iteration" not in state:
        raise SegkitError(f"'{path}' is not a checkpoint of a segkit run", value=str(path))
    return state


def find_last_checkpoint(output_dir: str | Path) -> Path | None:
    """The file that ``last_checkpoint`` names; None where there is no such note, as in a new folder."""
    note = Path(output_dir) / LAST
    return Path(output_dir) / note.read_text(encoding="utf-8").strip() if note.is_file() else None


def name_last_checkpoint(path: Path) -> None:
    """Notes ``path`` as the checkpoint to resume from."""
    with atomic_write(path.parent / LAST) as temporary:
        temporary.write_text(path.name + "\n", encoding="utf-8")


def check_classes(state: Mapping[str, Any], classes: Sequence[str], path: str | Path) -> None:
    """SegkitError where a checkpoint was trained on other classes; it names them."""
    theirs = list(state.get("classes") or classes)
    if theirs == list(classes):
        return
    missing = [name for name in theirs if name not in classes]
    added = [name for name in classes if name not in theirs]
    details = [
        f"only in the checkpoint: {', '.join(missing)}" if missing else "",
        f"only in the data: {', '.join(added)}" if added else "",
        "" if missing or added else f"in another order: {', '.join(theirs)} against {', '.join(classes)}",
    ]
    difference = "; ".join(detail for detail in details if detail)
    raise SegkitError(
        f"'{path}' was trained on {len(theirs)} classes, the data has {len(classes)} ({difference}). "
        "To start from its weights with new predictors, set train.init_weights to it"
    )


def training_state(trainer: Trainer, pending: Sequence[str] = ()) -> dict[str, Any]:
    """Everything a run is, as :func:`save_checkpoint` takes it."""
    states = {name: hook.state_dict() for name, hook in trainer.named_hooks().items()}
    return {
        "version": 1,
        **trainer.about,
        "model": dict(trainer.averaged.model_state() if trainer.averaged else trainer.model.state_dict()),
        "averaged": trainer.averaged.state_dict() if trainer.averaged else None,
        "skipped": trainer.skipped,
        "iteration": trainer.iteration,
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": {
            "max_iterations": trainer.max_iterations,
            "iterations_per_epoch": trainer.iterations_per_epoch,
        },
        "scaler": trainer.scaler.state_dict(),
        "hooks": {name: state for name, state in states.items() if state},
        "pending": list(pending),
        "metrics": trainer.metrics.state_dict(),
        "evaluation": dict(trainer.evaluation),
        "evaluated_at": trainer.evaluated_at,
        "rng": rng_state(),
    }


def restore(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Puts a run back where ``state`` was taken; its next step is the one that would have followed.

    The optimizer's hyperparameters stay those of the present configuration: a resumed run obeys what it is told now.
    """
    try:
        trainer.model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise SegkitError(
            f"the checkpoint is of another model than the configuration's, so it cannot be resumed; {error}"
        ) from error
    restore_average(trainer.model, trainer.averaged, state.get("averaged"))
    trainer.skipped = state.get("skipped", 0)
    groups = trainer.optimizer.param_groups
    hyper = [{key: value for key, value in group.items() if key != "params"} for group in groups]
    try:
        trainer.optimizer.load_state_dict(reordered_state(state["optimizer"], trainer.optimizer))
    except ValueError as error:
        raise SegkitError(
            f"the checkpoint's optimizer does not fit this run's ({error}): what trains has changed since. "
            "To start anew from its weights, set train.init_weights to it"
        ) from error
    for group, values in zip(trainer.optimizer.param_groups, hyper, strict=True):
        group.update(values)
    if state["scaler"] and trainer.scaler.is_enabled():
        trainer.scaler.load_state_dict(state["scaler"])
    hooks = trainer.named_hooks()
    for name, hook_state in state["hooks"].items():
        if name in hooks:
            hooks[name].load_state_dict(hook_state)
        else:
            logger.warning("the checkpoint has the state of a hook %s, which this run does not have", name)
    for key, value in state["schedule"].items():
        if (now := getattr(trainer, key)) != value:
            logger.warning("%s was %s when the checkpoint was written and is %s now", key, value, now)
    trainer.iteration = state["iteration"]
    trainer.pending = list(state["pending"])
    trainer.metrics.load_state_dict(state["metrics"], trainer.device)
    trainer.evaluation, trainer.evaluated_at = dict(state["evaluation"]), state["evaluated_at"]
    set_rng_state(state["rng"])


def rng_state() -> dict[str, Any]:
    """The global random generators as tensors and plain values."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": random.getstate(),
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """What :func:`rng_state` gave; GPUs that are not there any more are left out."""
    torch.set_rng_state(state["torch"])
    for index, cuda_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(cuda_state, index)
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))


def _check_plain(value: object, path: str) -> None:
    """TypeError where torch's ``weights_only`` loading would refuse the file."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(key, f"{path} key")
            _check_plain(item, f"{path}[{key!r}]")
    elif isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{path}[{index}]")
    elif isinstance(value, np.generic) or not isinstance(value, _PLAIN):
        raise TypeError(f"{path} is a {type(value).__name__}; checkpoints hold tensors and plain values only")
