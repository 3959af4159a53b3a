"""The hook that set the learning rates before the trainer did."""

from __future__ import annotations

import logging

from segkit.engine.hooks.base import Hook

logger = logging.getLogger(__name__)


class LearningRate(Hook):
    """Does nothing any more, and says so: the trainer sets the rates of its schedule itself."""

    def __init__(self) -> None:
        logger.warning(
            "LearningRate: the trainer sets the learning rates itself, in every step; remove it from the hooks"
        )
