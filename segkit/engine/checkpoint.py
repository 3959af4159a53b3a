"""A run on disk: what is saved, and how it comes back.

A checkpoint is a dictionary of tensors and plain values, which torch loads with ``weights_only=True``:

================  ====================================================================================================
model             the model's state dict; with an EMA of the weights, the average: what one predicts with
ema               with an EMA: the number of steps averaged, and the weights that train on (older files: ``averaged``)
skipped           number of steps skipped because a loss or gradient was not finite
config            the whole resolved configuration, as plain values
classes           class names, by label
category_ids      the ids that the data set's files have for them
iteration         steps done
optimizer         the optimizer's state dict
optimizer_class   its class, whose state that is
schedule          max_iterations and iterations_per_epoch, from which a schedule works (it has no state of its own)
epoch_shift       what is added to iteration for epochs, schedule and loader, see epoch_shift.py
scaler            the loss scaler's state dict (fp16)
hooks             the hooks' state by name
hook_classes      the class of each hook that keeps a state, by name
pending           hooks that had still to run for this iteration, where the run was interrupted between two steps
metrics           what had been measured and not yet written
evaluation        the last evaluation's metrics
processes         how many trained together
infinite_buffers  buffers that are not finite by construction, as masks of minus infinity; all others are finite
streams           version of the random streams, see segkit/utils/seeding.py
rng               states of the global random generators: torch, cuda, numpy, python
version           of this layout
================  ====================================================================================================
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from segkit.engine.plain_values import check_plain
from segkit.engine.run_state import not_finite_name, restore, training_state
from segkit.utils.archives import damage
from segkit.utils.atomic import atomic_write, sync_file
from segkit.utils.errors import SegkitError

__all__ = [
    "LAST",
    "METRICS",
    "find_last_checkpoint",
    "last_good",
    "name_last_checkpoint",
    "newest_good_checkpoint",
    "periodic_name",
    "read_checkpoint",
    "restore",
    "save_checkpoint",
    "superseded",
    "training_state",
]
logger = logging.getLogger(__name__)
LAST = "last_checkpoint"
METRICS = "metrics.json"
_PERIODIC = re.compile(r"model_(\d{7,})\.pth")


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Writes ``state`` whole or not at all.

    The lines of ``metrics.json`` beside it, which a run that goes on from it will not write again, are on the disk before.

    Raises:
        TypeError: something in it is neither a tensor nor a plain value; the message says where.
        SegkitError: a weight or a running statistic is NaN or infinite, and nothing is written; or the disk is full, or
            does not take it for another reason; the last good checkpoint is named.
    """
    check_plain(state, "checkpoint")
    if (bad := not_finite_name(state, state.get("infinite_buffers", ()))) is not None:
        raise SegkitError(
            f"'{path}' is not written: the model's {bad} is NaN or infinite. The training diverged (a lower "
            f"solver.optimizer.lr, solver.clip_norm, or train.precision=bf16 in the place of fp16 help)"
            f"{last_good(Path(path).parent)}",
            value=str(path),
        )
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
    """The file that ``last_checkpoint`` names; None where there is no such note, as in a new folder.

    A damaged note names some file that is not there, as any that has gone.
    """
    note = Path(output_dir) / LAST
    if not note.is_file():
        return None
    name = note.read_text(encoding="utf-8", errors="replace").strip()
    return Path(output_dir) / name.replace("\0", "\N{REPLACEMENT CHARACTER}")  # which a path cannot hold


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


def _reason(error: BaseException) -> str:
    """The first line of what an error says, or of what the system said before it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    told = getattr(cause, "strerror", None) or str(error) or type(error).__name__
    return re.sub(r"^\[enforce fail at .*?\] \. ", "", told.splitlines()[0])  # a place in torch's own source
