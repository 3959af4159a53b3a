"""Checkpoint files: what they hold, how they are written, read and named.

A checkpoint is a dictionary of tensors and plain values, which torch loads with ``weights_only=True``:

================  ====================================================================================================
model             the model's state dict; with ``train.ema_decay`` the EMA weights, which one predicts with
ema               with ``train.ema_decay``: how many steps the EMA covers, and the weights that train; else None
skipped           steps skipped because a loss or gradient was not finite
config            the whole resolved configuration, as plain values
classes           class names, by label
category_ids      category id of each label in the data set's files
object_sides      how large the training objects are (segkit.structures.object_sides.ObjectSides); None if none was read
iteration         steps done
optimizer         the optimizer's state dict
optimizer_class   name of the optimizer's class
schedule          max_iterations and iterations_per_epoch, from which a schedule works (it has no state of its own)
epoch_shift       added to iteration for epochs, schedule and loader, see ``resume.epoch_shift``
scaler            the loss scaler's state dict (fp16)
hooks             the hooks' states by hook name
hook_classes      the class of each hook that keeps a state, by hook name
pending           names of the hooks that have not yet run for this iteration (the run was interrupted between two steps)
metrics           the metrics measured since the last line of metrics.json
evaluation        the last evaluation's metrics
evaluated_at      the iteration of the last evaluation
score_thresholds  the best score thresholds of the last evaluation (segkit.structures.ScoreThresholds) with the iteration
                  after which it was made; else None
processes         number of processes that trained together
infinite_buffers  buffers that are infinite by construction, as masks of minus infinity; all others are finite
streams           version of the random streams, see segkit/utils/seeding.py
rng               states of the global random generators: torch, cuda, numpy, python
version           version of this layout
================  ====================================================================================================

``train_state.py`` makes this dictionary from a trainer and restores a trainer from it; ``resume.py`` finds the file to
resume from.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segkit.modeling.nonfinite import all_finite
from segkit.utils.archives import damage
from segkit.utils.atomic import atomic_write, sync_file
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
LAST = "last_checkpoint"
METRICS = "metrics.json"
TRACKED_RUNS = "tracked_runs.json"  # the ids of the run in experiment trackers
RENAMED_KEYS = {"averaged": "ema"}  # former keys of a checkpoint
RENAMED_LAYERS = {"offsets": "deltas"}  # former names of layers, in the RPN's and the box head
_PERIODIC = re.compile(r"model_(\d{7,})\.pth")
_PLAIN = (Tensor, str, bytes, int, float, bool, type(None))


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint on the disk, with the metrics of its iteration if that was evaluated."""

    path: Path
    iteration: int
    metrics: dict[str, float] = field(default_factory=dict)


def save_checkpoint(path: str | Path, state: Mapping[str, Any]) -> None:
    """Writes ``state`` completely or not at all.

    The lines of ``metrics.json`` beside it are synced to the disk first: a run resumed from ``state`` does not write
    them again.

    Raises:
        TypeError: a value is neither a tensor nor a plain value; the message says where it is.
        SegkitError: a weight or a running statistic is NaN or infinite (nothing is written), or the file cannot be
            written, as on a full disk; the message names the last good checkpoint.
    """
    check_plain(state, "checkpoint")
    if (bad := first_not_finite_name(state, state.get("infinite_buffers", ()))) is not None:
        raise SegkitError(
            f"'{path}' is not written: the model's {bad} is NaN or infinite. The training diverged (a lower "
            f"solver.optimizer.lr, solver.clip_norm, or train.precision=bf16 instead of fp16 helps)"
            f"{resume_hint(Path(path).parent)}",
            value=str(path),
        )
    try:
        sync_file(Path(path).with_name(METRICS))
        # Python opens the file: if torch opens it, its error lacks the system's reason for a failed write.
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            torch.save(dict(state), file)
    except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
        message = f"'{path}' could not be written: {_reason(error)}{resume_hint(Path(path).parent)}"
        raise SegkitError(message, value=str(path)) from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a segkit checkpoint to the CPU, with the keys of this version.

    Raises:
        SegkitError: the file does not exist, is damaged, or is not a segkit checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise SegkitError(f"no checkpoint at '{path}'", value=str(path))
    if (problem := damage(path)) is not None:  # before torch.load, whose unpickler would interpret damaged bytes
        raise SegkitError(f"'{path}' is damaged: {problem}", value=str(path))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types, depending on the damaged part of the file
        raise SegkitError(f"'{path}' cannot be read as a checkpoint: {_reason(error)}", value=str(path)) from error
    if not isinstance(state, dict) or "model" not in state or "iteration" not in state:
        raise SegkitError(f"'{path}' is not a checkpoint of a segkit run", value=str(path))
    return upgrade_checkpoint(state)


def upgrade_checkpoint(state: Mapping[str, Any], names: Collection[str] = ()) -> dict[str, Any]:
    """Returns a checkpoint of an earlier version with this version's keys and layer names.

    The keys of ``config`` are renamed where it is compared, by :func:`segkit.config.loader.present_config_dict`.

    Args:
        state: as read from a file.
        names: of the present model's parameters. A former name is replaced if they have its present name only, in the
            weights, in the EMA's weights and in the optimizer's parameter names.
    """

    def present(name: str) -> str:
        new = ".".join(RENAMED_LAYERS.get(layer, layer) for layer in name.split("."))
        return new if new in names and name not in names else name

    state = {RENAMED_KEYS.get(key, key): value for key, value in state.items()}
    state["model"] = {present(name): value for name, value in state["model"].items()}
    if state.get("ema"):
        weights = state["ema"]["weights"]
        state["ema"] = {**state["ema"], "weights": {present(name): value for name, value in weights.items()}}
    if "optimizer" in state:
        groups = [
            {**group, "param_names": [present(name) for name in group["param_names"]]}
            if "param_names" in group
            else group
            for group in state["optimizer"]["param_groups"]
        ]
        state["optimizer"] = {**state["optimizer"], "param_groups": groups}
    return state


def check_plain(value: object, path: str) -> None:
    """Raises TypeError if torch's ``weights_only`` loading would refuse ``value``.

    The message names it ``path``.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            check_plain(key, f"{path} key")
            check_plain(item, f"{path}[{key!r}]")
    elif isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        for index, item in enumerate(value):
            check_plain(item, f"{path}[{index}]")
    elif isinstance(value, np.generic) or not isinstance(value, _PLAIN):
        raise TypeError(f"{path} is a {type(value).__name__}; checkpoints hold tensors and plain values only")


def first_not_finite_name(state: Mapping[str, Any], allowed: Collection[str]) -> str | None:
    """Returns the name of a checkpoint's first weight or buffer with NaN or infinity, or None.

    Args:
        state: the checkpoint's dictionary.
        allowed: names of buffers that may hold infinity.
    """
    trained = (state.get("ema") or {}).get("weights", {})
    for name, tensor in [*state.get("model", {}).items(), *trained.items()]:
        if name not in allowed and not all_finite(tensor):
            return name
    return None


class BackgroundWriter:
    """Runs one write at a time in a thread, in the order of submission.

    At most one copy of a training state waits to be written. An error is raised once, by the next :meth:`submit`,
    :meth:`check` or :meth:`wait`. The interpreter's exit waits for the thread.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint writer")
        self._last: Future[None] | None = None

    def submit(self, write: Callable[[], None]) -> None:
        """Waits for the last write and starts ``write``; if the last one failed, raises its error."""
        self.wait()
        self._last = self._executor.submit(write)

    def check(self) -> None:
        """Raises the error of the last write if that is done and failed; does not wait."""
        if self._last is not None and self._last.done():
            self.wait()

    def wait(self) -> None:
        """Waits for the last write and raises its error, if it failed."""
        if self._last is None:
            return
        error = self._last.exception()  # a signal may interrupt it: the write then counts as unfinished
        self._last = None
        if error is not None:
            raise error


def host_copy(value: Any) -> Any:
    """Copies nested dicts, lists and tuples, with their tensors in the host's memory.

    The copy does not change while the training goes on.
    """
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: host_copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(host_copy(item) for item in value)
    return value


def periodic_name(iteration: int) -> str:
    """The file name of the checkpoint after ``iteration`` steps."""
    return f"model_{iteration:07d}.pth"


def superseded(output_dir: str | Path, iteration: int, keep: int | None, keep_every: int = 0) -> list[Path]:
    """Returns the periodic checkpoints to delete once the one of ``iteration`` is written.

    Args:
        output_dir: the run's directory.
        iteration: checkpoints of later iterations are not considered.
        keep: number of the latest checkpoints that stay; None: all stay.
        keep_every: checkpoints after each multiple of this many iterations stay as well; 0: none.
    """
    found = {int(match[1]): path for path in Path(output_dir).iterdir() if (match := _PERIODIC.fullmatch(path.name))}
    iterations = sorted(number for number in found if number <= iteration)
    old = [] if keep is None else iterations[:-keep]
    return [found[number] for number in old if not (keep_every and number % keep_every == 0)]


def name_last_checkpoint(path: Path) -> None:
    """Makes ``path`` the checkpoint to resume from, by a note beside it.

    Raises SegkitError if the note cannot be written.
    """
    try:
        with atomic_write(path.parent / LAST) as temporary:
            temporary.write_text(path.name + "\n", encoding="utf-8")
    except OSError as error:
        message = f"'{path.parent / LAST}' could not be written: {_reason(error)}{resume_hint(path.parent)}"
        raise SegkitError(message, value=str(path)) from error


def find_last_checkpoint(output_dir: str | Path) -> Path | None:
    """Returns the path that the file ``last_checkpoint`` names; None without that file.

    The path may not exist.
    """
    note = Path(output_dir) / LAST
    if not note.is_file():
        return None
    name = note.read_text(encoding="utf-8", errors="replace").strip()
    return Path(output_dir) / name.replace("\0", "\N{REPLACEMENT CHARACTER}")  # a path cannot hold a zero byte


def resume_hint(output_dir: Path) -> str:
    """The end of an error message: the checkpoint that the run can be resumed from."""
    last = find_last_checkpoint(output_dir)
    return "; there is no checkpoint yet" if last is None else f"; the last good checkpoint is {last}"


def _reason(error: BaseException) -> str:
    """The first line of an error's message, or the system's reason if an OSError caused it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    message = getattr(cause, "strerror", None) or str(error) or type(error).__name__
    return re.sub(r"^\[enforce fail at .*?\] \. ", "", message.splitlines()[0])  # without torch's source line
