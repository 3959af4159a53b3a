"""Makes components of classes from other libraries, such as torch's optimizers."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segkit.utils.components.signature import KINDS, signature_of


@dataclass(frozen=True)
class Foreign:
    """Classes of another library that a registry accepts unchanged.

    Attributes:
        kind: their base class.
        modules: where they are usually defined, for suggestions.
        adapt: returns the component of such a class: a function with the class's arguments as keyword-only parameters.
    """

    kind: type
    modules: tuple[str, ...]
    adapt: Callable[[Any], Any]


def component_like(
    call: Callable[..., Any],
    cls: type,
    *,
    runtime: Sequence[str] = (),
    without: Collection[str] = (),
    more: Mapping[str, tuple[Any, Any]] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Makes a component of a class: ``call`` with the class's parameters as keyword-only.

    Args:
        call: takes the run-time arguments and the options by name.
        cls: the class whose parameters, name and docstring the component gets.
        runtime: names of the run-time arguments, which become positional parameters.
        without: parameters of the class that are not options.
        more: further options: ``{name: (type, default)}``.
        defaults: defaults that differ from those of the class.
    """
    schema = signature_of(cls, frozenset())
    options = {n: p for n, p in schema.options.items() if n not in without}
    annotations = {n: _plain(schema.annotations.get(n, Any)) for n in options}
    parameters = [KINDS(name, KINDS.POSITIONAL_OR_KEYWORD) for name in runtime]
    for name, parameter in options.items():
        default = (defaults or {}).get(name, parameter.default)
        parameters.append(KINDS(name, KINDS.KEYWORD_ONLY, default=default))
    for name, (kind, default) in (more or {}).items():
        if name not in options:
            annotations[name] = kind
            parameters.append(KINDS(name, KINDS.KEYWORD_ONLY, default=default))
    if schema.extra_options:
        parameters.append(KINDS("kwargs", KINDS.VAR_KEYWORD))

    def component(**arguments: Any) -> Any:
        # The class may pass an inherited argument to its parent itself: pass it only if it was changed.
        kept = {n: v for n, v in arguments.items() if n not in schema.inherited or v != options[n].default}
        return call(**kept)

    component.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    component.__annotations__ = annotations
    component.__doc__ = inspect.getdoc(cls)
    component.__module__, component.__name__, component.__qualname__ = cls.__module__, cls.__name__, cls.__qualname__
    return component


def _plain(annotation: Any) -> Any:
    """Reduces a type to what YAML can hold; Any for other types, which the class checks itself."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        plain = [p for p in map(_plain, inner) if p is not Any]
        return functools.reduce(operator.or_, plain) if plain else Any
    if origin in (tuple, list, collections.abc.Sequence, collections.abc.Iterable):
        return origin[tuple(i if i is Ellipsis else _plain(i) for i in inner)]
    if origin is typing.Literal or annotation in (int, float, bool, str, type(None), list, tuple, dict):
        return annotation
    return Any
