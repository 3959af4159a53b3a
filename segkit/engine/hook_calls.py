"""Calling the hooks, so that a run that ends in between knows which have still to be called."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from segkit.engine.interrupt import delayed_interrupt

if TYPE_CHECKING:
    from segkit.engine.hooks.base import Hook
    from segkit.engine.trainer import Trainer

logger = logging.getLogger(__name__)


def named_hooks(hooks: Iterable[Hook]) -> dict[str, Hook]:
    """The hooks by class name, with ``#2`` for the second of a class: how checkpoints tell them apart."""
    named: dict[str, Hook] = {}
    counts: dict[str, int] = {}
    for hook in hooks:
        name = type(hook).__name__
        counts[name] = counts.get(name, 0) + 1
        named[name if counts[name] == 1 else f"{name}#{counts[name]}"] = hook
    return named


def call_after_step(trainer: Trainer) -> None:
    """Calls ``after_step`` of the hooks in ``trainer.pending``, and takes each off it."""
    for name, hook in trainer.named_hooks().items():
        if name in trainer.pending:
            trainer.line_read = False
            hook.after_step(trainer)
            if not trainer.line_read:
                trainer.pending.remove(name)
                continue
            with delayed_interrupt():  # a line is forgotten if and only if its hook will not run again
                trainer.pending.remove(name)
                trainer.metrics.clear()


def tell_of_end(trainer: Trainer, error: BaseException) -> None:
    """Calls ``on_exception`` of all hooks: saving first, in case that a hook fails or takes long."""
    for hook in reversed(trainer.hooks):
        try:
            hook.on_exception(trainer, error)
        except Exception:  # the first error is the one to be raised; this one is told
            logger.exception("%s failed while the run was ending with %r", type(hook).__name__, error)
