"""Writers to experiment trackers, each in a thread of its own."""

from segkit.engine.hooks.trackers.base import Connection, TrackedRun, Tracker
from segkit.engine.hooks.trackers.mlflow import MLflow
from segkit.engine.hooks.trackers.trackio import Trackio
from segkit.engine.hooks.trackers.wandb import WandB

__all__ = ["Connection", "MLflow", "TrackedRun", "Tracker", "Trackio", "WandB"]
