"""Names of hooks: the keys of their states in a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from segkit.utils.errors import SegkitError


class Named(Protocol):
    """What a hook's name depends on."""

    name: str

    @property
    def keeps_state(self) -> bool: ...


AnyHook = TypeVar("AnyHook", bound=Named)


def named_hooks(hooks: Iterable[AnyHook]) -> dict[str, AnyHook]:
    """Returns the hooks by name, in their order.

    Hooks without a state may share a name: the second one is ``NAME#2`` here.

    Raises:
        SegkitError: two hooks share a name and one of them keeps a state; or a name is not a text.
    """
    named: dict[str, AnyHook] = {}
    counts: dict[str, int] = {}
    stateful: set[str] = set()
    for i, hook in enumerate(hooks):
        name = hook.name
        if not isinstance(name, str) or not name or "#" in name:
            raise SegkitError(f"the name of hooks[{i}] ({type(hook).__name__}) is a text without '#', not {name!r}")
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > 1 and (name in stateful or hook.keeps_state):
            raise SegkitError(
                f"two hooks are called '{name}', and a checkpoint could not tell their states apart: set a separate name "
                f"for each {type(hook).__name__} (hook_name: ... beside its name in the configuration, "
                "hook.name = ... in Python)",
                key="hooks",
                value=name,
            )
        if hook.keeps_state:
            stateful.add(name)
        named[name if counts[name] == 1 else f"{name}#{counts[name]}"] = hook
    return named


def saved_names(saved: Iterable[str], classes: Mapping[str, str] | None, hooks: Mapping[str, Named]) -> dict[str, str]:
    """Maps the hook names in a checkpoint to the current hooks; skips hooks that are gone.

    Args:
        saved: names of hooks in the checkpoint.
        classes: the checkpoint's ``hook_classes``. None: an older checkpoint, whose names are class names, with ``#2``
            for the second hook of a class. If such a hook has another name now, its position among the hooks of its
            class decides.
        hooks: the current hooks by name.
    """
    found: dict[str, str] = {}
    for name in saved:
        if name in hooks:
            found[name] = name
        elif classes is None:
            kind, _, number = name.partition("#")
            same_class = [present for present, hook in hooks.items() if type(hook).__name__ == kind]
            index = int(number or 1) - 1
            if index < len(same_class):
                found[name] = same_class[index]
    return found
