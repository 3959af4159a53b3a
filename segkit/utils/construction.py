"""From a schema and the values for it to the call of a constructor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from segkit.utils.errors import SegkitError
from segkit.utils.signature import Signature, Slot, SlotList, unknown_argument


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
            origin = ", which neither the configuration nor the builder gives" if key in schema.undecided else ""
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
        arguments[key] = value
    return arguments


def _given(slot: Slot, component: Any, path: str) -> dict[str, Any]:
    """The run-time values that a finished component gives to those after it; SegkitError where they are not right."""
    for attribute in slot.gives.values():
        if not hasattr(component, attribute):
            raise SegkitError(
                f"{path}: {type(component).__name__} has no '{attribute}', which the parts after it read", key=path
            )
    if slot.check is not None:
        try:
            slot.check(component)
        except SegkitError as error:
            raise SegkitError(f"{path}: {error}", key=path, value=error.value) from error
    return {given: getattr(component, attribute) for given, attribute in slot.gives.items()}


def construct(component: Any, schema: Signature, arguments: dict[str, Any], name: str, path: str) -> Any:
    """Calls a constructor; what it says of its arguments becomes a SegkitError with the key path."""
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
