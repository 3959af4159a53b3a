"""Reads constructors as schemas: options, run-time arguments, components in slots."""

from __future__ import annotations

import builtins
import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.renamed_arguments import new_name

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
    """Reads the parameters of a class's constructor or of a factory function as a schema.

    Args:
        component: a class or function.
        runtime_names: names of the builder's run-time arguments. A positional parameter of another name is an option,
            like a keyword-only one. None: the names are unknown, and all positional parameters are run-time arguments.
    Raises:
        SegkitError: the signature cannot be read, or an annotation with a Slot cannot be evaluated.
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
    """The Slot in an annotation, at any depth (``Optional[Annotated[..., Slot(...)]]``).

    Returns None if there is none.
    """
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, (Slot, SlotList)):
            return extra
    for inner in typing.get_args(annotation):
        if (slot := find_slot(inner)) is not None:
            return slot
    return None


def unknown_argument(name: str, key: str, schema: Signature, where: str) -> str:
    """The error message for an argument that a component does not take.

    It names the nearest argument that it takes.
    """
    if key in schema.runtime:
        text = f"{where}: '{key}' of {name} is set by the builder and cannot be configured"
        if schema.module.split(".")[0] in ("segkit", "torch", "torchvision"):
            return text
        return (
            f"{text}; to set it in the configuration, make it keyword-only (put a * before it in {name}'s parameters)"
        )
    if (new := new_name(key, schema.options)) is not None:
        return f"{where}: '{key}' of {name} is called '{new}' now"
    if not schema.options:
        return f"{where}: {name} has no argument '{key}'; it has no arguments"
    return f"{where}: {name} has no argument '{key}'{did_you_mean(key, schema.options)}"


def source_of(component: Any) -> str:
    """Module and qualified name of a class or function, for messages."""
    while isinstance(component, functools.partial):
        component = component.func
    name = getattr(component, "__qualname__", None) or getattr(component, "__name__", None)
    return f"{getattr(component, '__module__', '?')}.{name}" if name else repr(component)


def same_source(known: Any, obj: Any) -> bool:
    """Whether two objects come from one definition (a notebook cell run again, a reload)."""
    if isinstance(known, functools.partial) or isinstance(obj, functools.partial):
        parts = [(p.args, p.keywords) if isinstance(p, functools.partial) else None for p in (known, obj)]
        if parts[0] != parts[1]:
            return False
    return source_of(known) == source_of(obj)


def _parameters(component: Any) -> tuple[dict[str, inspect.Parameter], dict[str, Any], set[str]]:
    """Parameters, their types, and the names of those that a parent's constructor takes.

    ``**kwargs`` passes these on to the parent.
    """
    try:
        parameters = dict(inspect.signature(component).parameters)
    except (ValueError, TypeError) as error:
        raise SegkitError(
            f"{source_of(component)}: its parameters cannot be read ({error}), as of a class written in C; register a "
            "function with explicit parameters that calls it"
        ) from error
    annotations = {n: _type(p.annotation, component, n) for n, p in parameters.items()}
    hints = _hints(_constructor(component))
    annotations |= {n: hints[n] for n in parameters if n in hints}
    inherited: set[str] = set()
    if inspect.isclass(component) and any(p.kind is KINDS.VAR_KEYWORD for p in parameters.values()):
        for constructor in _parent_constructors(component):
            parent_parameters = dict(list(inspect.signature(constructor).parameters.items())[1:])
            hints = _hints(constructor)
            for name, parameter in parent_parameters.items():
                if name in parameters or parameter.kind in (KINDS.VAR_POSITIONAL, KINDS.VAR_KEYWORD):
                    continue
                parameters[name], annotations[name] = parameter, hints.get(name, Any)
                inherited.add(name)
            if not any(p.kind is KINDS.VAR_KEYWORD for p in parent_parameters.values()):
                break
    return parameters, annotations, inherited


def _constructor(component: Any) -> Any:
    """The Python function that defines the component's annotations.

    Returns None for a class without one.
    """
    while isinstance(component, functools.partial):
        component = component.func
    if not inspect.isclass(component):
        return getattr(component, "__func__", component)
    python_functions = [f for f in (component.__init__, component.__new__) if inspect.isfunction(f)]
    return python_functions[0] if python_functions else None


def _parent_constructors(component: type) -> Iterator[Any]:
    """The constructors, written in Python, of a class's parents, in the order of the MRO."""
    is_own = True
    for cls in component.__mro__:
        if "__init__" not in vars(cls):
            continue
        if is_own:
            is_own = False
        elif inspect.isfunction(vars(cls)["__init__"]) and not cls.__module__.startswith("torch.nn.modules.module"):
            yield vars(cls)["__init__"]


def _hints(function: Any) -> dict[str, Any]:
    """The evaluated annotations of a function.

    They are evaluated one by one if some name does not exist at run time.
    """
    if function is None:
        return {}
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        annotations = getattr(function, "__annotations__", {})
        return {name: _type(annotation, function, name) for name, annotation in annotations.items()}


class _Names(dict[str, Any]):
    """A namespace in which missing names (imported under ``TYPE_CHECKING``) are Any."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Any)


def _type(annotation: Any, owner: Any, name: str) -> Any:
    """Evaluates one annotation.

    If that fails, the result is Any, or a SegkitError if the annotation has a Slot.
    """
    if annotation is KINDS.empty or not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, {}, _Names(getattr(_constructor(owner), "__globals__", {})))
    except Exception as error:
        if "Slot" not in annotation:
            return Any
        raise SegkitError(
            f"{source_of(owner)}: cannot read its annotations: {name}: {annotation}: {error}; import the names in it "
            "outside of `if TYPE_CHECKING`"
        ) from error
