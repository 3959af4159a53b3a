"""Training: the trainer, its hooks, checkpoints, and runs of a configuration.

==============  =========================================================================
``run``         from a configuration to results: ``train``, ``evaluate_only``
``train_loop``  the loop, and the interface of hooks
``trainer``     one optimizer step; ``train_step`` has its functions
``hooks``       evaluation, checkpoints, logging, early stopping, profiler, timer
``checkpoint``  checkpoint files and the keys in them; ``resume`` continues from one
``build``       model, trainer, hooks and evaluators of a configuration
``library``     ``segkit.train`` and ``segkit.evaluate`` for programs and notebooks
==============  =========================================================================

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from segkit.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from segkit.engine.build import build_trainer
    from segkit.engine.checkpoint import SavedCheckpoint, read_checkpoint, save_checkpoint
    from segkit.engine.ema import EMA
    from segkit.engine.hooks import (
        BestCheckpoint,
        ConsoleWriter,
        CurvesWriter,
        EarlyStopping,
        Evaluation,
        Hook,
        JsonWriter,
        MLflow,
        PauseAt,
        PeriodicCheckpoint,
        Pictures,
        Profiler,
        TensorBoardWriter,
        TimeLimit,
        Timer,
        Tracker,
        Trackio,
        WandB,
        Writer,
        Writers,
        build_default_hooks,
    )
    from segkit.engine.library import evaluate, train
    from segkit.engine.metrics import DivergedError
    from segkit.engine.train_loop import TrainerBase
    from segkit.engine.trainer import Trainer


_HOMES = {
    "segkit.engine.build": "build_trainer",
    "segkit.engine.checkpoint": "SavedCheckpoint read_checkpoint save_checkpoint",
    "segkit.engine.ema": "EMA",
    "segkit.engine.hooks": (
        "BestCheckpoint ConsoleWriter CurvesWriter EarlyStopping Evaluation Hook JsonWriter MLflow PauseAt PeriodicCheckpoint "
        "Pictures Profiler TensorBoardWriter TimeLimit Timer Tracker Trackio WandB Writer Writers build_default_hooks"
    ),
    "segkit.engine.library": "evaluate train",
    "segkit.engine.metrics": "DivergedError",
    "segkit.engine.train_loop": "TrainerBase",
    "segkit.engine.trainer": "Trainer",
}
if not TYPE_CHECKING:  # a type checker would accept any name
    __getattr__, __dir__ = lazy_exports(__name__, _HOMES)

__all__ = [
    "EMA",
    "BestCheckpoint",
    "ConsoleWriter",
    "CurvesWriter",
    "DivergedError",
    "EarlyStopping",
    "Evaluation",
    "Hook",
    "JsonWriter",
    "MLflow",
    "PauseAt",
    "PeriodicCheckpoint",
    "Pictures",
    "Profiler",
    "SavedCheckpoint",
    "TensorBoardWriter",
    "TimeLimit",
    "Timer",
    "Tracker",
    "Trackio",
    "Trainer",
    "TrainerBase",
    "WandB",
    "Writer",
    "Writers",
    "build_default_hooks",
    "build_trainer",
    "evaluate",
    "read_checkpoint",
    "save_checkpoint",
    "train",
]
