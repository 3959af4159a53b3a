"""Base classes of hooks and of writers, which the ``Writers`` hook calls."""

from __future__ import annotations

from collections.abc import Mapping

from segkit.engine.train_loop import Hook, TrainerBase

__all__ = ["Hook", "Writer"]


class Writer:
    """A destination of metrics.

    A subclass is registered in ``WRITER_REGISTRY`` and named in a ``Writers`` hook of the configuration. If several
    processes train, writers are called in the first one only.
    """

    def open(self, trainer: TrainerBase) -> None:
        """Called before the first step."""

    def write(self, trainer: TrainerBase, record: Mapping[str, float]) -> None:
        """Writes one line of metrics; values may be NaN.

        Keys: ``iteration``, ``epoch``, ``loss/total``, ``loss/...``, ``lr``, ...
        """

    def close(self, trainer: TrainerBase) -> None:
        """Called after the last step, or when the run ends with an exception."""
