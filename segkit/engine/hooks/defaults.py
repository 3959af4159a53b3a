"""The hooks of every run, and why they come in this order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from segkit.engine.checkpoint import BackgroundWriter
from segkit.engine.hooks.base import Hook, Writer
from segkit.engine.hooks.checkpoint import BestCheckpoint, PeriodicCheckpoint
from segkit.engine.hooks.evaluation import EarlyStopping, Evaluation
from segkit.engine.hooks.logging import ConsoleWriter, CurvesWriter, JsonWriter, TensorBoardWriter, Writers
from segkit.engine.hooks.pictures import Pictures
from segkit.engine.hooks.timer import Timer
from segkit.evaluation.evaluator import PredictionPipeline


def build_default_hooks(
    *,
    log_period: int,
    checkpoint_period: int,
    keep_checkpoints: int | None = None,
    keep_every: int = 0,
    val_loader: Iterable[Any] | None = None,
    evaluators: Sequence[Any] = (),
    eval_period: int = 0,
    eval_losses: bool = True,
    best_metric: str = "segm/AP",
    best_min_gain: float = 0.0,
    early_stopping: EarlyStopping | None = None,
    pictures: Pictures | None = None,
    pipeline: PredictionPipeline | None = None,
    classes: Sequence[str] = (),
    extra: Sequence[Hook] = (),
    resume_command: str | None = None,
) -> list[Hook]:
    """Returns the default hooks around a user's own (``extra``); periods are iterations.

    Without ``val_loader`` nothing is evaluated, and there is no best checkpoint.
    """
    writer = BackgroundWriter()
    hooks: list[Hook] = [
        Timer(log_period),  # first, so that the step's time excludes the other hooks
    ]
    if val_loader is not None:
        hooks += [
            Evaluation(
                val_loader, evaluators, classes=classes, period=eval_period, losses=eval_losses, pipeline=pipeline
            ),
            # compares the evaluation of this iteration
            BestCheckpoint(best_metric, min_gain=best_min_gain, writer=writer),
        ]
        if early_stopping is not None:
            hooks.append(early_stopping)  # after the best is saved, before hooks that ask for the last step
    # A user's hooks find the evaluation, and what they log is written.
    hooks += [hook for hook in extra if not isinstance(hook, Writers)]
    if pictures is not None:
        hooks.append(pictures)  # before the writers, which get them
    # One hook for all writers: reading the metrics clears their means.
    own_writers = [writer for hook in extra if isinstance(hook, Writers) for writer in hook.writers]
    hooks += [
        Writers(log_period, writers=[*default_writers(), *own_writers]),  # after all hooks that log
        # Last: the other hooks are done and their output is written, so a resumed run neither repeats nor misses it.
        PeriodicCheckpoint(
            checkpoint_period,
            keep=keep_checkpoints,
            keep_every=keep_every,
            resume_command=resume_command,
            writer=writer,
        ),
    ]
    return hooks


def default_writers() -> list[Writer]:
    """Returns the writers of the log, metrics.json, TensorBoard and curves.png.

    curves.png is drawn from metrics.json, so its writer comes last.
    """
    return [ConsoleWriter(), JsonWriter(), TensorBoardWriter(), CurvesWriter()]
