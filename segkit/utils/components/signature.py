"""Reads constructors as schemas: options of a spec, run-time arguments of the builder, components."""

from __future__ import annotations

import builtins
import collections.abc
import functools
import inspect
import operator
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from segkit.utils.errors import SegkitError, did_you_mean

KINDS = inspect.Parameter


@dataclass(frozen=True)
class Slot:
    """Marks a parameter as a component: ``neck: Annotated[nn.Module, Slot(NECK_REGISTRY)]``.

    Attributes:
        registry: where the component's name is looked up.
        provides: run-time arguments of the siblings that are built later, as ``{argument: attribute of the component}``.
        check: called with the built component; raises SegkitError if its attributes are wrong.
    """

    registry: Any
    # Without a hash, because Optional[Annotated[..., Slot(...)]] hashes the Slot and a mapping has none.
    provides: Mapping[str, str] = field(default_factory=dict, hash=False)
    check: Callable[[Any], None] | None = None


@dataclass(frozen=True)
class SlotList:
    """Marks a parameter as a list of components of one registry."""

    registry: Any


@dataclass(frozen=True)
class Signature:
    """A constructor, read as a schema.

    Attributes:
        runtime: parameters that only the builder sets.
        options: parameters that a spec may set: keyword-only ones, and positional ones that no builder sets.
        annotations: types of all parameters, including ``Annotated``; Any for those that cannot be evaluated.
        slots: the options that are components.
        undecided: options that some builder may set: without a default, and positional or of a builder's name.
        inherited: options of a parent's constructor that ``**kwargs`` passes on; passed only if the spec sets them.
        extra_options: whether ``**kwargs`` takes any other option.
        positional_only: parameters that cannot be passed by name, in their order.
        module: where the component is defined.
    """

    runtime: dict[str, inspect.Parameter]
    options: dict[str, inspect.Parameter]
    annotations: dict[str, Any]
    slots: dict[str, Slot | SlotList]
    undecided: frozenset[str] = frozenset()
    inherited: frozenset[str] = frozenset()
    extra_options: bool = False
    positional_only: tuple[str, ...] = ()
    module: str = ""


def signature_of(component: Any, runtime_names: frozenset[str] | None = None) -> Signature:
    """Read a component's constructor (or a factory function's parameters) as a schema.

    Args:
        component: a class or function.
        runtime_names: the values that the builder has. A positional parameter of another name is an option, as if a ``*``
            stood before it. None: the names are not known, so that all positional parameters are the builder's.
    Raises:
        SegkitError: it has no readable signature, or an annotation with a Slot cannot be evaluated.
    """
    return _read(component, runtime_names)


@functools.cache
def _read(component: Any, runtime_names: frozenset[str] | None) -> Signature:
    parameters, annotations, inherited = _parameters(component)
    runtime: dict[str, inspect.Parameter] = {}
    options: dict[str, inspect.Parameter] = {}
    undecided = set()
    for name, parameter in parameters.items():
        if parameter.kind in (KINDS.VAR_POSITIONAL, KINDS.VAR_KEYWORD):
            continue
        if parameter.kind is KINDS.KEYWORD_ONLY:
            options[name] = parameter
            if parameter.default is KINDS.empty and name in (runtime_names or ()):
                undecided.add(name)
        elif runtime_names is None or name in runtime_names:
            runtime[name] = parameter
        else:
            options[name] = parameter
            if parameter.default is KINDS.empty:
                undecided.add(name)
    slots = {n: s for n in options if (s := find_slot(annotations.get(n))) is not None}
    return Signature(
        runtime,
        options,
        annotations,
        slots,
        undecided=frozenset(undecided),
        inherited=frozenset(inherited),
        extra_options=any(p.kind is KINDS.VAR_KEYWORD for p in parameters.values()),
        positional_only=tuple(n for n, p in parameters.items() if p.kind is KINDS.POSITIONAL_ONLY),
        module=str(getattr(component, "__module__", "")),
    )


def find_slot(annotation: Any) -> Slot | SlotList | None:
    """The Slot inside an annotation, also under ``Optional``."""
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, (Slot, SlotList)):
            return extra
    for inner in typing.get_args(annotation):
        if (slot := find_slot(inner)) is not None:
            return slot
    return None


def unknown_argument(name: str, key: str, schema: Signature, where: str) -> str:
    """The message for an argument that a component does not take."""
    if key in schema.runtime:
        text = f"{where}: '{key}' of {name} is worked out when the model is built and cannot be set"
        if schema.module.split(".")[0] in ("segkit", "torch", "torchvision"):
            return text
        return f"{text}; for a value of the configuration's, put a * before it in {name}'s parameters"
    if not schema.options:
        return f"{where}: {name} has no argument '{key}'; it takes none"
    return f"{where}: {name} has no argument '{key}'{did_you_mean(key, schema.options)}"


def source_of(component: Any) -> str:
    """Module and name of a class or function, for messages."""
    while isinstance(component, functools.partial):
        component = component.func
    name = getattr(component, "__qualname__", None) or getattr(component, "__name__", None)
    return f"{getattr(component, '__module__', '?')}.{name}" if name else repr(component)


def same_source(known: Any, obj: Any) -> bool:
    """Whether two objects are the same definition, imported twice (a notebook cell run again, a module reloaded)."""
    if isinstance(known, functools.partial) or isinstance(obj, functools.partial):
        parts = [(p.args, p.keywords) if isinstance(p, functools.partial) else None for p in (known, obj)]
        if parts[0] != parts[1]:
            return False
    return source_of(known) == source_of(obj)


def _parameters(component: Any) -> tuple[dict[str, inspect.Parameter], dict[str, Any], set[str]]:
    """Parameters, their types, and which of them ``**kwargs`` hands on to a parent's constructor."""
    try:
        parameters = dict(inspect.signature(component).parameters)
    except (ValueError, TypeError) as error:
        raise SegkitError(
            f"{source_of(component)}: its parameters cannot be read ({error}), as of a class written in C; register a "
            "function that has the parameters written out and calls it"
        ) from error
    annotations = {n: _type(p.annotation, component, n) for n, p in parameters.items()}
    hints = _hints(_constructor(component))
    annotations |= {n: hints[n] for n in parameters if n in hints}
    inherited: set[str] = set()
    if inspect.isclass(component) and any(p.kind is KINDS.VAR_KEYWORD for p in parameters.values()):
        for constructor in _parents_constructors(component):
            above = dict(list(inspect.signature(constructor).parameters.items())[1:])
            hints = _hints(constructor)
            for name, parameter in above.items():
                if name in parameters or parameter.kind in (KINDS.VAR_POSITIONAL, KINDS.VAR_KEYWORD):
                    continue
                parameters[name], annotations[name] = parameter, hints.get(name, Any)
                inherited.add(name)
            if not any(p.kind is KINDS.VAR_KEYWORD for p in above.values()):
                break
    return parameters, annotations, inherited


def _constructor(component: Any) -> Any:
    """The function whose annotations are the component's."""
    while isinstance(component, functools.partial):
        component = component.func
    if not inspect.isclass(component):
        return getattr(component, "__func__", component)
    written = [f for f in (component.__init__, component.__new__) if inspect.isfunction(f)]
    return written[0] if written else None


def _parents_constructors(component: type) -> Iterator[Any]:
    """The constructors of a class's parents that are written in Python, nearest first."""
    own = True
    for cls in component.__mro__:
        if "__init__" not in vars(cls):
            continue
        if own:
            own = False
        elif inspect.isfunction(vars(cls)["__init__"]) and not cls.__module__.startswith("torch.nn.modules.module"):
            yield vars(cls)["__init__"]


def _hints(function: Any) -> dict[str, Any]:
    """The evaluated annotations of a function; one by one where some name is not there at run time."""
    if function is None:
        return {}
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        written = getattr(function, "__annotations__", {})
        return {name: _type(annotation, function, name) for name, annotation in written.items()}


class _Names(dict[str, Any]):
    """A namespace in which a name that is imported for type checkers only stands for anything."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Any)


def _type(annotation: Any, owner: Any, name: str) -> Any:
    """One annotation, evaluated; Any where that is not possible and no component is lost by it."""
    if annotation is KINDS.empty or not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, {}, _Names(getattr(_constructor(owner), "__globals__", {})))
    except Exception as error:
        if "Slot" not in annotation:
            return Any
        raise SegkitError(
            f"{source_of(owner)}: cannot read its annotations: {name}: {annotation}: {error}; import what it names outside "
            "of `if TYPE_CHECKING`"
        ) from error


def component_like(
    call: Callable[..., Any],
    cls: type,
    *,
    runtime: Sequence[str] = (),
    without: Collection[str] = (),
    more: Mapping[str, tuple[Any, Any]] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """A component for a class of another library: ``call`` with the class's parameters as keyword-only ones.

    Args:
        call: takes the run-time values and the options by name.
        cls: whose parameters, name and docstring it gets.
        runtime: names of the run-time values, which become the positional parameters.
        without: parameters of the class that are no options.
        more: further options: ``{name: (type, default)}``.
        defaults: defaults that differ from the class's.
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
        # The class may give what its **kwargs hands on to a parent itself.
        kept = {n: v for n, v in arguments.items() if n not in schema.inherited or v != options[n].default}
        return call(**kept)

    component.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    component.__annotations__ = annotations
    component.__doc__ = inspect.getdoc(cls)
    component.__module__, component.__name__, component.__qualname__ = cls.__module__, cls.__name__, cls.__qualname__
    return component


def _plain(annotation: Any) -> Any:
    """A type as far as a configuration's values can be of it; Any for what is left to the class itself."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        plain = [p for p in map(_plain, inner) if p is not Any]
        return functools.reduce(operator.or_, plain) if plain else Any
    if origin in (tuple, list, collections.abc.Sequence, collections.abc.Iterable):
        return origin[tuple(i if i is Ellipsis else _plain(i) for i in inner)]
    if origin is typing.Literal or annotation in (int, float, bool, str, type(None), list, tuple, dict):
        return annotation
    return Any
