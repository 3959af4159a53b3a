"""Classes by their dotted path, as ``torch.optim.RAdam``."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections.abc import Iterable
from typing import Any

from segkit.utils.errors import SegkitError, nearest

# Only these are imported because a path names them: a configuration from anywhere may do so.
IMPORTED = ("torch", "torchvision")


def class_at(path: str, kind: type | tuple[type, ...], what: str, places: Iterable[str] = ()) -> type:
    """The class that a dotted path names.

    Args:
        path: of a class in torch, torchvision, or a module that is imported already (by ``imports``).
        kind: what it has to be a subclass of.
        what: what that is to the user, for messages: ``optimizer``.
        places: modules where such classes usually are, for suggestions.
    Raises:
        SegkitError: there is no such thing, with the nearest; it is no class, or one of another kind.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    found = _at(path, kinds, places)
    if not inspect.isclass(found) or not issubclass(found, kinds):
        given = f"a {type(found).__name__}" if not inspect.isclass(found) else "a class of another kind"
        near = _nearest_path(path, _names(places, kinds))
        wanted = " or ".join(dict.fromkeys(f"{k.__module__}.{k.__qualname__}" for k in kinds))
        raise SegkitError(f"'{path}' is no {what}: {given}, not a subclass of {wanted}{near}", value=path)
    if found in kinds or inspect.isabstract(found):
        example = next(iter(_names(places, kinds)), "")
        raise SegkitError(
            f"'{path}' is what others derive from, and no {what} itself; name one, as '{example}'", value=path
        )
    return found


def dotted_hint(name: str, kind: type | tuple[type, ...], places: Iterable[str]) -> str:
    """The end of a message about a name that is not registered: torch's class of that name, else nothing."""
    for path in _names(places, kind if isinstance(kind, tuple) else (kind,)):
        if path.rpartition(".")[2].lower() == name.lower().replace("_", ""):
            return f"; torch's own is '{path}'"
    return ""


def _nearest_path(path: str, choices: Iterable[str]) -> str:
    """The end of a message: the choices whose last part is most like the path's."""
    by_name = {choice.rpartition(".")[2]: choice for choice in choices}
    near = [by_name[name] for name in nearest(path.rpartition(".")[2], by_name)]
    return "; did you mean " + " or ".join(f"'{choice}'" for choice in near) + "?" if near else ""


def _at(path: str, kinds: tuple[type, ...], places: Iterable[str]) -> Any:
    parts = path.split(".")
    if parts[0] in IMPORTED:
        importlib.import_module(parts[0])
    known = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    start = next((name for name in known if name in sys.modules), None)
    if start is None:
        raise SegkitError(
            f"there is no '{path}' here: a dotted path is one of torch, torchvision, or of a module that `imports` "
            f"names{_nearest_path(path, _names(places, kinds))}",
            value=path,
        )
    found: Any = sys.modules[start]
    reached = start
    for part in parts[start.count(".") + 1 :]:
        public = part.isidentifier() and not part.startswith("_")
        inner = _attribute(found, part) if public else None
        if inner is None and public and isinstance(found, types.ModuleType) and parts[0] in IMPORTED:
            inner = _submodule(f"{reached}.{part}")
        if inner is None:
            choices = _public(found, reached, kinds)
            near = _nearest_path(f"{reached}.{part}", choices)
            raise SegkitError(
                f"there is no '{path}': {reached} has no '{part}'{near}",
                value=path,
                choices=choices,
            )
        found, reached = inner, f"{reached}.{part}"
    return found


def _attribute(found: Any, name: str) -> Any:
    try:
        return getattr(found, name, None)
    except Exception:  # torch.classes and torch.ops look names up in C++, which has errors of its own
        return None


def _submodule(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception:
        return None


def _public(found: Any, path: str, kinds: tuple[type, ...]) -> list[str]:
    """Dotted paths of the modules and the classes of the kind that are in a module."""
    names = [name for name in dir(found) if not name.startswith("_")]
    values = {name: _attribute(found, name) for name in names}
    return [
        f"{path}.{name}"
        for name, value in values.items()
        if isinstance(value, types.ModuleType) or (inspect.isclass(value) and issubclass(value, kinds))
    ]


def _names(places: Iterable[str], kinds: tuple[type, ...]) -> list[str]:
    """The public classes of the kinds in some modules, the kinds themselves left out."""
    paths = []
    for place in places:
        module = importlib.import_module(place)
        for name, value in vars(module).items():
            if not name.startswith("_") and inspect.isclass(value) and issubclass(value, kinds) and value not in kinds:
                paths.append(f"{place}.{name}")
    return paths
