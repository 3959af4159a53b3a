"""Hooks around training steps; importing this package registers hooks and writers."""

from segkit.engine.hooks.base import Hook, Writer
from segkit.engine.hooks.checkpoint import BestCheckpoint, PeriodicCheckpoint
from segkit.engine.hooks.defaults import build_default_hooks
from segkit.engine.hooks.evaluation import EarlyStopping, Evaluation
from segkit.engine.hooks.logging import ConsoleWriter, CurvesWriter, JsonWriter, TensorBoardWriter, Writers
from segkit.engine.hooks.profiler import Profiler
from segkit.engine.hooks.timer import Timer

__all__ = [
    "BestCheckpoint",
    "ConsoleWriter",
    "CurvesWriter",
    "EarlyStopping",
    "Evaluation",
    "Hook",
    "JsonWriter",
    "PeriodicCheckpoint",
    "Profiler",
    "TensorBoardWriter",
    "Timer",
    "Writer",
    "Writers",
    "build_default_hooks",
]
