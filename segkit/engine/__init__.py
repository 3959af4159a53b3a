"""Training: the loop, its hooks, checkpoints, and the run that a configuration describes."""

from segkit.engine.checkpoint import read_checkpoint, save_checkpoint
from segkit.engine.hooks import Hook, Writer
from segkit.engine.run import train
from segkit.engine.trainer import Trainer

__all__ = ["Hook", "Trainer", "Writer", "read_checkpoint", "save_checkpoint", "train"]
