"""The hooks by name, and calling them so that a run that ends in between knows which have still to be called."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from segkit.engine.interrupt import delayed_interrupt
from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from segkit.engine.hooks.base import Hook
    from segkit.engine.trainer import Trainer

logger = logging.getLogger(__name__)


def named_hooks(hooks: Iterable[Hook]) -> dict[str, Hook]:
    """The hooks by name, in their order. Hooks without a state may share one: the second is ``NAME#2`` here.

    Raises:
        SegkitError: two hooks of one name, of which one keeps a state; or a name that is no text.
    """
    named: dict[str, Hook] = {}
    counts: dict[str, int] = {}
    stateful: set[str] = set()
    for i, hook in enumerate(hooks):
        name = hook.name
        if not isinstance(name, str) or not name or "#" in name:
            raise SegkitError(f"the name of hooks[{i}] ({type(hook).__name__}) is a text without '#', not {name!r}")
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > 1 and (name in stateful or hook.keeps_state):
            raise SegkitError(
                f"two hooks are called '{name}', and a checkpoint could not tell their states apart: give each "
                f"{type(hook).__name__} a name of its own (hook_name: ... beside its name in the configuration, "
                "hook.name = ... in Python)",
                key="hooks",
                value=name,
            )
        if hook.keeps_state:
            stateful.add(name)
        named[name if counts[name] == 1 else f"{name}#{counts[name]}"] = hook
    return named


def saved_names(saved: Iterable[str], classes: Mapping[str, str] | None, hooks: Mapping[str, Hook]) -> dict[str, str]:
    """Which present hook each name of a checkpoint means; those that are gone are left out.

    Args:
        saved: hooks' names in the checkpoint.
        classes: its ``hook_classes``. None: an older checkpoint, whose names are the class's, with ``#2`` for the second
            hook of a class; where such a hook has another name now, its place among those of its class counts.
        hooks: the present ones by name.
    """
    found: dict[str, str] = {}
    for name in saved:
        if name in hooks:
            found[name] = name
        elif classes is None:
            kind, _, number = name.partition("#")
            alike = [present for present, hook in hooks.items() if type(hook).__name__ == kind]
            place = int(number or 1) - 1
            if place < len(alike):
                found[name] = alike[place]
    return found


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
