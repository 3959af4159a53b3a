"""From a schema and the values for it to the call of a constructor."""

from __future__ import annotations

import inspect
import os
import traceback
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from segkit.utils.components.signature import Signature, Slot, SlotList, unknown_argument
from segkit.utils.errors import SegkitError

NO_SUPER = "{0} is a torch.nn.Module whose __init__ does not begin with super().__init__()"


def check_arguments(
    name: str, spec: Mapping[str, Any], schema: Signature, runtime: Mapping[str, Any], path: str
) -> None:
    """SegkitError for an argument that the component does not take, or for a run-time value that is missing."""
    for key in spec:
        if key in schema.options:
            continue
        if key in schema.runtime:
            # Its default was filled in when the configuration was loaded, where the builder was not known.
            if key in runtime and spec[key] == schema.runtime[key].default:
                continue
        elif schema.extra_options:
            continue
        raise SegkitError(unknown_argument(name, key, schema, f"{path}.{key}"), key=f"{path}.{key}")
    for key, parameter in schema.runtime.items():
        if key not in runtime and key not in schema.inherited and parameter.default is inspect.Parameter.empty:
            raise SegkitError(
                f"{path}: {name} needs '{key}', and this builder has none; for a value of the configuration's, give the "
                "parameter another name or put a * before it",
                key=path,
            )


def option_values(
    name: str, spec: Mapping[str, Any], schema: Signature, runtime: dict[str, Any], path: str
) -> dict[str, Any]:
    """The arguments of the spec, with the defaults and the components in their slots; fills ``runtime``."""
    arguments: dict[str, Any] = {
        key: value for key, value in spec.items() if key not in schema.options and key not in schema.runtime
    }
    for key, parameter in schema.options.items():
        if key in schema.inherited and key not in spec:
            continue  # the subclass may give it itself
        value = spec.get(key, parameter.default)
        if value is inspect.Parameter.empty:
            value = runtime.get(key, value)  # the builder's, behind a * all the same
        if value is inspect.Parameter.empty:
            origin = ""
            if key in schema.undecided:
                known = f" (it has {', '.join(sorted(runtime))})" if runtime else ""
                origin = f", which neither the configuration nor the builder gives{known}"
            raise SegkitError(f"{path}: {name} needs the argument '{key}'{origin}", key=f"{path}.{key}")
        slot = schema.slots.get(key)
        if isinstance(slot, Slot) and isinstance(value, Mapping):
            value = slot.registry.build(value, path=f"{path}.{key}", **runtime)
        elif isinstance(slot, SlotList) and isinstance(value, (list, tuple)):
            value = [
                slot.registry.build(v, path=f"{path}.{key}.{i}", **runtime) if isinstance(v, Mapping) else v
                for i, v in enumerate(value)
            ]
        if isinstance(slot, Slot) and value is not None:
            runtime.update(_given(slot, value, f"{path}.{key}"))
        arguments[key] = _as_path(value, schema.annotations.get(key))
    return arguments


def _as_path(value: Any, annotation: Any) -> Any:
    """Text for a parameter that is annotated as a path, as a path."""
    kinds = [annotation, *typing.get_args(annotation)]
    if isinstance(value, str) and str not in kinds and any(kind in (Path, PurePath) for kind in kinds):
        return Path(value)
    return value


def _given(slot: Slot, component: Any, path: str) -> dict[str, Any]:
    """The run-time values that a finished component gives to those after it; SegkitError where they are not right."""
    for attribute in slot.provides.values():
        if not hasattr(component, attribute):
            raise SegkitError(
                f"{path}: {type(component).__name__} has no '{attribute}', which the parts after it read", key=path
            )
    if slot.check is not None:
        try:
            slot.check(component)
        except SegkitError as error:
            raise SegkitError(f"{path}: {error}", key=path, value=error.value) from error
    return {given: getattr(component, attribute) for given, attribute in slot.provides.items()}


def check_made(made: Any, makes: Sequence[str], name: str, path: str, *, title: str, hint: str) -> None:
    """SegkitError unless a finished component is ready, and has the attributes that its kind is used by."""
    if is_module(type(made)) and "_modules" not in vars(made):
        raise SegkitError(f"{path}: {NO_SUPER.format(type(made).__name__)}", key=path, value=name)
    for attribute in makes:
        if not _has(made, attribute, f"{path}: {name}.{attribute}"):
            raise SegkitError(
                f"{path}: {name} makes a {type(made).__name__}, which is no {title}: it has no '{attribute}'"
                + f"; {hint}" * bool(hint),
                key=path,
                value=name,
            )


def _has(made: Any, attribute: str, where: str) -> bool:
    """Whether there is such an attribute; SegkitError where a property cannot be read."""
    stored = inspect.getattr_static(type(made), attribute, None)
    if not isinstance(stored, property) or stored.fget is None:
        return hasattr(made, attribute)
    try:
        # Not by getattr: of an AttributeError inside of a property, a Module makes one that says there is no such property.
        stored.fget(made)
        return True
    except SegkitError:
        raise
    except Exception as error:
        raise SegkitError(f"{where} cannot be read: {type(error).__name__}: {error}{last_line(error)}") from error


def is_module(kind: type) -> bool:
    """Whether a class is one of torch's modules, without importing torch."""
    return any(base.__module__ == "torch.nn.modules.module" for base in kind.__mro__)


def construct(component: Any, schema: Signature, arguments: dict[str, Any], name: str, path: str) -> Any:
    """Calls a constructor; what it says of its arguments becomes a SegkitError with the key path."""
    if inspect.isabstract(component):
        missing = ", ".join(sorted(component.__abstractmethods__))
        raise SegkitError(f"{path}: {name} does not define {missing}, which it has to, being abstract", key=path)
    positional = [arguments.pop(p) for p in schema.positional_only if p in arguments]
    try:
        return component(*positional, **arguments)
    except SegkitError as error:
        text = str(error) if str(error).startswith(path) else f"{path}: {error}"
        raise SegkitError(text, key=error.key or path, value=error.value, choices=error.choices) from error
    except ValueError as error:
        raise SegkitError(f"{path}: {error}", key=path) from error
    except Exception as error:
        line = str(error).partition("\n")[0]
        if isinstance(error, AttributeError) and "before Module.__init__()" in line:
            raise SegkitError(f"{path}: {NO_SUPER.format(name)}", key=path, value=name) from error
        if _too_large(error):
            raise SegkitError(f"{path}: {name} is too large to be made: {line}", key=path) from error
        if schema.module.split(".")[0] in ("torch", "torchvision"):  # whose defects are not what ends a run here
            raise SegkitError(
                f"{path}: {name} refuses its arguments: {type(error).__name__}: {line}", key=path
            ) from error
        if schema.extra_options and isinstance(error, TypeError) and "argument" in line:
            raise SegkitError(f"{path}: {name}, which hands on **kwargs: {line}", key=path) from error
        raise


def _too_large(error: Exception) -> bool:
    """Whether there is no room for what an argument asks for: torch tells that by other errors as well."""
    signs = ("overflow", "too large", "allocate memory", "not enough memory", "out of memory")
    kinds = (RuntimeError, TypeError, OverflowError)
    return isinstance(error, MemoryError) or (
        isinstance(error, kinds) and any(sign in str(error).lower() for sign in signs)
    )


def last_line(error: BaseException) -> str:
    """Where an error was raised, for the end of a message: `` (in FILE, line N)``."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}torch{os.sep}" not in f.filename]
    return f" (in {frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
