"""What happens around the training steps. The import registers the hooks and writers that a configuration can name."""

from segkit.engine.hooks.base import Hook, Writer
from segkit.engine.hooks.best_checkpoint import BestCheckpoint
from segkit.engine.hooks.checkpoint import PeriodicCheckpoint
from segkit.engine.hooks.defaults import build_default_hooks
from segkit.engine.hooks.early_stopping import EarlyStopping
from segkit.engine.hooks.evaluation import Evaluation
from segkit.engine.hooks.profiler import Profiler
from segkit.engine.hooks.schedule import LearningRate
from segkit.engine.hooks.timer import Timer
from segkit.engine.hooks.writers import ConsoleWriter, CurvesWriter, JsonWriter, TensorBoardWriter, Writers

__all__ = [
    "BestCheckpoint",
    "ConsoleWriter",
    "CurvesWriter",
    "EarlyStopping",
    "Evaluation",
    "Hook",
    "JsonWriter",
    "LearningRate",
    "PeriodicCheckpoint",
    "Profiler",
    "TensorBoardWriter",
    "Timer",
    "Writer",
    "Writers",
    "build_default_hooks",
]
