"""Base classes of hooks and of writers, which the ``Writers`` hook calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from segkit.engine.checkpoint import SavedCheckpoint
from segkit.engine.train_loop import Hook, TrainerBase

__all__ = ["Hook", "Writer"]


class Writer:
    """A destination of metrics, checkpoints and pictures.

    A subclass is registered in ``WRITER_REGISTRY`` and named under ``writers:`` in the configuration. If several
    processes train, writers are called in the first one only.
    """

    def open(self, trainer: TrainerBase) -> None:
        """Called before the first step."""

    def write(self, trainer: TrainerBase, record: Mapping[str, float]) -> None:
        """Writes one line of metrics; values may be NaN.

        Keys: ``iteration``, ``epoch``, ``loss/total``, ``loss/...``, ``lr``, ...
        """

    def write_checkpoint(self, trainer: TrainerBase, saved: SavedCheckpoint) -> None:
        """Called for each checkpoint that is on the disk; later ones may replace or delete it."""

    def write_pictures(self, trainer: TrainerBase, pictures: Sequence[Path]) -> None:
        """Called with the image files of the last evaluation's pictures, before ``close``."""

    def close(self, trainer: TrainerBase) -> None:
        """Called after the last step, or when the run ends with an exception."""
