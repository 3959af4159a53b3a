"""Resuming a run: finding the checkpoint, and fitting it to current data and configuration.

``train_state.restore`` then restores the trainer from the result.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.config.loader import present_config_dict
from segkit.config.schema import Config
from segkit.engine.checkpoint import find_last_checkpoint, read_checkpoint
from segkit.engine.config_diff import INCOMPARABLE, ConfigChange, config_diff, diff_table
from segkit.utils import distributed
from segkit.utils.errors import SegkitError

logger = logging.getLogger(__name__)
_COMPARING_HOOKS = ("BestCheckpoint", "EarlyStopping")  # hooks whose state is the best metric so far


def checkpoint_to_resume(run_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """Returns path and content of the newest good checkpoint, the same in all processes.

    Returns None if there is no checkpoint.
    """
    found = newest_good_checkpoint(run_dir) if distributed.is_main() else None
    path = distributed.broadcast(found and found[0])
    if found is None and path is not None:
        found = path, read_checkpoint(path)
    return found


def newest_good_checkpoint(run_dir: str | Path) -> tuple[Path, dict[str, Any]] | None:
    """Returns path and content of the checkpoint to resume from; None if the directory has none.

    It is the checkpoint that ``last_checkpoint`` names. If that cannot be read, it is the one with the most iterations
    among the others; ``model_best.pth`` counts, for it holds a complete state. The log says what is wrong with which file.

    Raises:
        SegkitError: there are checkpoints, and none of them can be read.
    """
    folder, named = Path(run_dir), find_last_checkpoint(run_dir)
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
        raise SegkitError(f"{folder}: no checkpoint can be resumed from: {'; '.join(problems)}", value=str(folder))
    return best


def fit_to_config(path: Path, state: Mapping[str, Any], cfg: Config) -> dict[str, Any]:
    """Returns the checkpoint's state for a run of ``cfg``; warns of each key that differs.

    Keys that were renamed since the checkpoint was written are no difference.

    Args:
        path: the checkpoint, for messages.
        state: its content.
        cfg: the current configuration, with ``data.classes`` set.
    Raises:
        SegkitError: the checkpoint was trained on other classes.
    """
    assert cfg.data.classes is not None
    check_classes(state, cfg.data.classes, path)
    changes = config_diff(present_config_dict(state.get("config", {})), cfg.to_dict())
    if changes and distributed.is_main():  # the same in all processes
        logger.warning("keys that differ from the checkpoint's configuration:\n%s", diff_table(changes))
    return without_incomparable_best(state, changes)


def check_classes(state: Mapping[str, Any], classes: Sequence[str], path: object) -> None:
    """Raises SegkitError if a checkpoint has other classes; the message names the difference."""
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


def without_incomparable_best(state: Mapping[str, Any], changes: Sequence[ConfigChange]) -> dict[str, Any]:
    """Returns the state without the best metric so far, if evaluations measure something else."""
    if not any(change.meaning in INCOMPARABLE for change in changes):
        return dict(state)
    classes = state.get("hook_classes", {})
    hooks = {name: kept for name, kept in state["hooks"].items() if classes.get(name, name) not in _COMPARING_HOOKS}
    return {**state, "hooks": hooks}


def epoch_shift(state: Mapping[str, Any] | None, iterations_per_epoch: int, *, in_epochs: bool) -> int:
    """Returns what a run adds to its iteration count for epochs, so that epochs done stay done.

    Another batch size or other data change the number of iterations in an epoch, while the iterations done keep their
    numbers. A run of 4 epochs that is resumed after 2 with twice the batch size trains the third and fourth epoch, and its
    schedule is half way through.

    Args:
        state: the checkpoint that the run resumes from; None: a new run.
        iterations_per_epoch: of the current run.
        in_epochs: whether the run's length is given in epochs. If it is given in iterations, those count and the shift
            is 0.
    Returns:
        0 as long as nothing has changed.
    """
    if state is None or not in_epochs:
        return 0
    before, shift = state["schedule"]["iterations_per_epoch"], state.get("epoch_shift", 0)
    if before == iterations_per_epoch:
        return shift
    return round((state["iteration"] + shift) * iterations_per_epoch / before) - state["iteration"]
