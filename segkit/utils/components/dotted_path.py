"""Finds classes by their dotted path, as ``torch.optim.RAdam``."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from collections.abc import Iterable
from typing import Any

from segkit.utils.errors import SegkitError, nearest

# A dotted path imports these packages only: a configuration may come from anywhere, and an import runs code.
IMPORTABLE = ("torch", "torchvision")


def locate_class(path: str, kind: type | tuple[type, ...], what: str, modules: Iterable[str] = ()) -> type:
    """The class that a dotted path names.

    Args:
        path: of a class in torch, torchvision, or a module that is imported already (by ``imports``).
        kind: its expected base class, or several.
        what: title of such classes in messages: ``optimizer``.
        modules: modules that hold such classes, for suggestions.
    Raises:
        SegkitError: the path does not exist (the message names the nearest), or is not a class of that kind.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    found = _locate(path, kinds, modules)
    if not inspect.isclass(found) or not issubclass(found, kinds):
        given = f"a {type(found).__name__}" if not inspect.isclass(found) else "a class of another kind"
        near = _nearest_path(path, _class_paths(modules, kinds))
        bases = " or ".join(dict.fromkeys(f"{k.__module__}.{k.__qualname__}" for k in kinds))
        raise SegkitError(f"'{path}' is no {what}: {given}, not a subclass of {bases}{near}", value=path)
    if found in kinds or inspect.isabstract(found):
        example = next(iter(_class_paths(modules, kinds)), "")
        raise SegkitError(
            f"'{path}' is an abstract base class, not a usable {what}; name a subclass, as '{example}'", value=path
        )
    return found


def dotted_hint(name: str, kind: type | tuple[type, ...], modules: Iterable[str]) -> str:
    """torch's class of a name that is not registered, as the end of a message.

    It is empty if torch has none.
    """
    for path in _class_paths(modules, kind if isinstance(kind, tuple) else (kind,)):
        if path.rpartition(".")[2].lower() == name.lower().replace("_", ""):
            return f"; torch's own is '{path}'"
    return ""


def _nearest_path(path: str, choices: Iterable[str]) -> str:
    """The choices whose last part is most like the path's, as the end of a message.

    It is empty if none is similar.
    """
    by_name = {choice.rpartition(".")[2]: choice for choice in choices}
    near = [by_name[name] for name in nearest(path.rpartition(".")[2], by_name)]
    return "; did you mean " + " or ".join(f"'{choice}'" for choice in near) + "?" if near else ""


def _locate(path: str, kinds: tuple[type, ...], modules: Iterable[str]) -> Any:
    """The object that a dotted path names; SegkitError with the nearest path if there is none."""
    parts = path.split(".")
    if parts[0] in IMPORTABLE:
        importlib.import_module(parts[0])
    prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    start = next((name for name in prefixes if name in sys.modules), None)
    if start is None:
        raise SegkitError(
            f"there is no '{path}': a dotted path starts with torch, torchvision, or a module that `imports` "
            f"lists{_nearest_path(path, _class_paths(modules, kinds))}",
            value=path,
        )
    found: Any = sys.modules[start]
    reached = start
    for part in parts[start.count(".") + 1 :]:
        public = part.isidentifier() and not part.startswith("_")
        inner = _attribute(found, part) if public else None
        if inner is None and public and isinstance(found, types.ModuleType) and parts[0] in IMPORTABLE:
            inner = _submodule(f"{reached}.{part}")
        if inner is None:
            choices = _public_names(found, reached, kinds)
            near = _nearest_path(f"{reached}.{part}", choices)
            raise SegkitError(
                f"there is no '{path}': {reached} has no '{part}'{near}",
                value=path,
                choices=choices,
            )
        found, reached = inner, f"{reached}.{part}"
    return found


def _attribute(found: Any, name: str) -> Any:
    """An attribute; None if there is none or reading it fails."""
    try:
        return getattr(found, name, None)
    except Exception:  # torch.classes and torch.ops look names up in C++ and raise other types of errors
        return None


def _submodule(name: str) -> Any:
    """A module; None if it cannot be imported."""
    try:
        return importlib.import_module(name)
    except Exception:
        return None


def _public_names(found: Any, path: str, kinds: tuple[type, ...]) -> list[str]:
    """Dotted paths of the public submodules of a module, and of its classes of the given kinds."""
    members = {name: _attribute(found, name) for name in dir(found) if not name.startswith("_")}
    return [
        f"{path}.{name}"
        for name, member in members.items()
        if isinstance(member, types.ModuleType) or (inspect.isclass(member) and issubclass(member, kinds))
    ]


def _class_paths(modules: Iterable[str], kinds: tuple[type, ...]) -> list[str]:
    """Dotted paths of the public subclasses of the given kinds in some modules."""
    paths = []
    for module in modules:
        for name, member in vars(importlib.import_module(module)).items():
            if name.startswith("_") or not inspect.isclass(member):
                continue
            if issubclass(member, kinds) and member not in kinds:
                paths.append(f"{module}.{name}")
    return paths
