"""Hooks that end or pause a training after a time or a number of iterations."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Mapping
from typing import Annotated, Any

from segkit.config.typecheck import Bounds
from segkit.engine.hooks.base import Hook
from segkit.engine.train_loop import TrainerBase
from segkit.registry import HOOK_REGISTRY
from segkit.utils import distributed
from segkit.utils.errors import RunInterrupted, SegkitError

logger = logging.getLogger(__name__)


@HOOK_REGISTRY.register
class TimeLimit(Hook):
    """Ends a training after some minutes, with its evaluation and final checkpoint.

    The time of a resumed run counts from its beginning, without the pauses. The schedule does not end with it: set
    ``train.iterations`` for a learning rate that comes to its end. In several processes the first one's clock counts.

    Args:
        minutes: of training, periodic evaluations included; the step in which they pass is the last.
    """

    examples = ({"minutes": 1.0},)

    def __init__(self, *, minutes: Annotated[float, Bounds(0, open_low=True)]) -> None:
        if not minutes > 0:
            raise SegkitError(f"minutes: must be above 0, given {minutes}", key="minutes", value=minutes)
        self.minutes = minutes
        self._before = 0.0  # seconds of earlier processes
        self._began = 0.0

    @property
    def seconds(self) -> float:
        """Time of training so far."""
        return self._before + (time.monotonic() - self._began if self._began else 0.0)

    def before_train(self, trainer: TrainerBase) -> None:
        self._began = time.monotonic()
        if self._before >= 60 * self.minutes:
            trainer.stop()  # the run had ended

    def before_step(self, trainer: TrainerBase) -> None:
        if distributed.broadcast(self.seconds >= 60 * self.minutes):
            logger.info("%g minutes have passed: this step is the last", self.minutes)
            trainer.stop()

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._before = float(state["seconds"])


@HOOK_REGISTRY.register
class PauseAt(Hook):
    """Saves a training after an iteration and ends its process, as SIGTERM does.

    Exit status 75.

    ``--resume`` continues it, with a later iteration or without this hook, to the result that it would have had.

    Args:
        iteration: the last one before the pause; after the end of the run there is none.
    """

    examples = ({"iteration": 1},)

    def __init__(self, *, iteration: Annotated[int, Bounds(1)]) -> None:
        if iteration < 1:
            raise SegkitError(f"iteration: must be at least 1, given {iteration}", key="iteration", value=iteration)
        self.iteration = iteration

    def before_step(self, trainer: TrainerBase) -> None:
        # All hooks are done with the last iteration: its evaluation is written and nothing is repeated.
        if trainer.iteration == self.iteration:
            raise RunInterrupted(signal.SIGTERM)
