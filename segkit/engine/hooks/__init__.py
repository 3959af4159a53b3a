"""Hooks around training steps.

The import registers the hooks and writers that a configuration can name.
"""

from segkit.engine.hooks.base import Hook, Writer
from segkit.engine.hooks.checkpoint import BestCheckpoint, PeriodicCheckpoint
from segkit.engine.hooks.defaults import build_default_hooks
from segkit.engine.hooks.evaluation import EarlyStopping, Evaluation
from segkit.engine.hooks.logging import ConsoleWriter, CurvesWriter, JsonWriter, TensorBoardWriter, Writers
from segkit.engine.hooks.pictures import Pictures
from segkit.engine.hooks.profiler import Profiler
from segkit.engine.hooks.time_limit import PauseAt, TimeLimit
from segkit.engine.hooks.timer import Timer
from segkit.engine.hooks.trackers import MLflow, Tracker, Trackio, WandB

__all__ = [
    "BestCheckpoint",
    "ConsoleWriter",
    "CurvesWriter",
    "EarlyStopping",
    "Evaluation",
    "Hook",
    "JsonWriter",
    "MLflow",
    "PauseAt",
    "PeriodicCheckpoint",
    "Pictures",
    "Profiler",
    "TensorBoardWriter",
    "TimeLimit",
    "Timer",
    "Tracker",
    "Trackio",
    "WandB",
    "Writer",
    "Writers",
    "build_default_hooks",
]
