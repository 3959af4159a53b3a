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
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segkit.engine.averaging import restore_average
from segkit.engine.rng import rng_state, set_rng_state
from segkit.engine.trainer import Trainer
from segkit.solver.parameter_groups import reordered_state
from segkit.utils.archives import damage
from segkit.utils.atomic import atomic_write, sync_file
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
LAST = "last_checkpoint"
METRICS = "metrics.json"
_PERIODIC = re.compile(r"model_(\d{7,})\.pth")
_PLAIN = (torch.Tensor, str, bytes, int, float, bool, type(None))


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Writes ``state`` whole or not at all.

    The lines of ``metrics.json`` beside it, which a run that goes on from it will not write again, are on the disk before.

    Raises:
        TypeError: something in it is neither a tensor nor a plain value; the message says where.
        SegkitError: the disk is full, or does not take it for another reason; the last good checkpoint is named.
    """
    _check_plain(state, "checkpoint")
    try:
        sync_file(Path(path).with_name(METRICS))
        # A file of Python's: where torch opens it, it forgets what the system says of a write that fails.
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            torch.save(dict(state), file)
    except (OSError, RuntimeError) as error:  # RuntimeError: what torch makes of a write that fails
        message = f"'{path}' could not be written: {_reason(error)}{last_good(Path(path).parent)}"
        raise SegkitError(message, value=str(path)) from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A segkit checkpoint, on the CPU.

    Raises:
        SegkitError: no such file, one that is not as it was written, or one of something else.
    """
    path = Path(path)
    if not path.is_file():
        raise SegkitError(f"no checkpoint at '{path}'", value=str(path))
    if (problem := damage(path)) is not None:  # first, for the unpickler takes flipped bytes for another program
        raise SegkitError(f"'{path}' is damaged: {problem}", value=str(path))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # as many kinds as there are ways to write such a file
        raise SegkitError(f"'{path}' cannot be read as a checkpoint: {_reason(error)}", value=str(path)) from error
    if not isinstance(state, dict) or "model" not in state or "iteration" not in state:
        raise SegkitError(f"'{path}' is not a checkpoint of a segkit run", value=str(path))
    return state


def find_last_checkpoint(output_dir: str | Path) -> Path | None:
    """The file that ``last_checkpoint`` names; None where there is no such note, as in a new folder."""
    note = Path(output_dir) / LAST
    return Path(output_dir) / note.read_text(encoding="utf-8").strip() if note.is_file() else None


def newest_good_checkpoint(output_dir: str | Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint to go on from and its content; None where there is none at all.

    It is the one that ``last_checkpoint`` names. Where that cannot be read, it is the one of the others that got
    furthest, ``model_best.pth`` included, which holds as much as all; the log says what is wrong with which.

    Raises:
        SegkitError: there are checkpoints, and none is good.
    """
    folder, named = Path(output_dir), find_last_checkpoint(output_dir)
    others = sorted(path for path in folder.glob("model_*.pth") if path != named)
    best: tuple[Path, dict[str, Any]] | None = None
    problems: list[str] = []
    for path in [named, *others] if named is not None else others:
        try:
            state = read_checkpoint(path)
        except SegkitError as error:
            logger.warning("%s", error)
            problems.append(str(error))
            continue
        if best is None or state["iteration"] > best[1]["iteration"]:
            best = path, state
        if path == named:
            break
    if best is not None and best[0] != named:
        logger.warning("the newest good checkpoint is %s, after %d iterations", best[0], best[1]["iteration"])
    if best is None and problems:
        raise SegkitError(f"{folder}: no checkpoint can be gone on from: {'; '.join(problems)}", value=str(folder))
    return best


def periodic_name(iteration: int) -> str:
    """The file name of the checkpoint after an iteration."""
    return f"model_{iteration:07d}.pth"


def superseded(output_dir: str | Path, iteration: int, keep: int | None, keep_every: int = 0) -> list[Path]:
    """The periodic checkpoints up to ``iteration`` that are neither among the last ``keep`` (None: all stay) nor after a
    multiple of ``keep_every`` iterations (0: none stays for that)."""
    found = {int(match[1]): path for path in Path(output_dir).iterdir() if (match := _PERIODIC.fullmatch(path.name))}
    done = sorted(number for number in found if number <= iteration)
    old = [] if keep is None else done[:-keep]
    return [found[number] for number in old if not (keep_every and number % keep_every == 0)]


def name_last_checkpoint(path: Path) -> None:
    """Notes ``path`` as the checkpoint to resume from. SegkitError as in :func:`save_checkpoint`."""
    try:
        with atomic_write(path.parent / LAST) as temporary:
            temporary.write_text(path.name + "\n", encoding="utf-8")
    except OSError as error:
        message = f"'{path.parent / LAST}' could not be written: {_reason(error)}{last_good(path.parent)}"
        raise SegkitError(message, value=str(path)) from error


def last_good(output_dir: Path) -> str:
    """The end of a message: which checkpoint there is to go on from."""
    last = find_last_checkpoint(output_dir)
    return "; there is no checkpoint yet" if last is None else f"; the last good checkpoint is {last}"


def training_state(trainer: Trainer, pending: Sequence[str] = (), *, rescue: bool = False) -> dict[str, Any]:
    """Everything a run is, as :func:`save_checkpoint` takes it.

    Args:
        pending: the hooks that have still to run for this iteration.
        rescue: leave out the state of a hook that fails to give it, and say so in the log, rather than lose the run.
    """
    states: dict[str, dict[str, Any]] = {}
    for name, hook in trainer.named_hooks().items():
        try:
            states[name] = hook.state_dict()
            _check_plain(states[name], f"checkpoint['hooks'][{name!r}]")
        except Exception as error:
            if not rescue:
                raise
            states[name] = {}
            logger.error("the state of %s is not saved: %s: %s", name, type(error).__name__, error)
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


def _reason(error: BaseException) -> str:
    """The first line of what an error says, or of what the system said before it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    told = getattr(cause, "strerror", None) or str(error) or type(error).__name__
    return re.sub(r"^\[enforce fail at .*?\] \. ", "", told.splitlines()[0])  # a place in torch's own source


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
