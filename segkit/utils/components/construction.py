"""Calls a component's constructor with the arguments of a spec; errors carry the key path."""

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
from segkit.utils.out_of_memory import is_out_of_memory
from segkit.utils.renamed_arguments import new_name

NO_SUPER = "{0} is a torch.nn.Module whose __init__ does not begin with super().__init__()"


def missing_name(spec: Mapping[str, Any], key: str, title: str) -> str:
    """What is wrong with a spec that names no component, for a message.

    Args:
        spec: the spec.
        key: the key that names the component.
        title: what the component is, as ``evaluator``.
    """
    joined = any(str(name).startswith(f"{key}:") for name in spec)
    hint = f" (YAML needs a space after the colon, as {key}: NAME)" if joined else ""
    return f"'{key}' is missing{hint}; expected the {title}'s name"


def check_arguments(
    name: str, spec: Mapping[str, Any], schema: Signature, runtime: Mapping[str, Any], path: str
) -> None:
    """Raises a SegkitError for an unknown argument, or a missing run-time argument.

    Args:
        name: the component's registry name.
        spec: the arguments in the configuration.
        schema: the component's signature.
        runtime: the builder's run-time arguments.
        path: the spec's key path.
    """
    for key in spec:
        if key in schema.options:
            continue
        if key in schema.runtime:
            # The configuration was completed with this default when it was loaded, before the builder was known.
            if key in runtime and spec[key] == schema.runtime[key].default:
                continue
        elif schema.extra_options and new_name(key, schema.options) is None:
            continue
        raise SegkitError(unknown_argument(name, key, schema, f"{path}.{key}"), key=f"{path}.{key}")
    for key, parameter in schema.runtime.items():
        if key not in runtime and key not in schema.inherited and parameter.default is inspect.Parameter.empty:
            raise SegkitError(
                f"{path}: {name} needs '{key}', which this builder does not have; to set it in the configuration, rename "
                "the parameter or make it keyword-only (put a * before it)",
                key=path,
            )


def option_values(
    name: str, spec: Mapping[str, Any], schema: Signature, runtime: dict[str, Any], path: str
) -> dict[str, Any]:
    """The arguments of a spec, completed with defaults; specs in slots are built.

    Args:
        runtime: the builder's run-time arguments; attributes that a component in a slot provides are added.
    """
    arguments: dict[str, Any] = {
        key: value for key, value in spec.items() if key not in schema.options and key not in schema.runtime
    }
    for key, parameter in schema.options.items():
        if key in schema.inherited and key not in spec:
            continue  # the subclass may pass this argument to its parent itself
        value = spec.get(key, parameter.default)
        if value is inspect.Parameter.empty:
            value = runtime.get(key, value)  # a run-time argument that the component declares as keyword-only
        if value is inspect.Parameter.empty:
            origin = ""
            if key in schema.undecided:
                known = f" (it has {', '.join(sorted(runtime))})" if runtime else ""
                origin = f", which is neither in the configuration nor a run-time argument of the builder{known}"
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
            runtime.update(_provided(slot, value, f"{path}.{key}"))
        arguments[key] = _as_path(value, schema.annotations.get(key))
    return arguments


def _as_path(value: Any, annotation: Any) -> Any:
    """Converts text to a Path if the parameter is annotated as a path."""
    kinds = [annotation, *typing.get_args(annotation)]
    if isinstance(value, str) and str not in kinds and any(kind in (Path, PurePath) for kind in kinds):
        return Path(value)
    return value


def _provided(slot: Slot, component: Any, path: str) -> dict[str, Any]:
    """The run-time arguments that a built component provides to its later siblings.

    Raises a SegkitError if one is missing.
    """
    for attribute in slot.provides.values():
        if not hasattr(component, attribute):
            raise SegkitError(
                f"{path}: {type(component).__name__} has no '{attribute}', which later components read", key=path
            )
    if slot.check is not None:
        try:
            slot.check(component)
        except SegkitError as error:
            raise SegkitError(f"{path}: {error}", key=path, value=error.value) from error
    return {argument: getattr(component, attribute) for argument, attribute in slot.provides.items()}


def check_component(component: Any, attributes: Sequence[str], name: str, path: str, *, title: str, hint: str) -> None:
    """Raises a SegkitError if a built component lacks an attribute of its registry.

    Args:
        component: what the constructor returned.
        attributes: the required attributes.
        name: the component's registry name.
        path: the spec's key path.
        title: what the registry holds, for the message: ``backbone``.
        hint: appended to the message.
    """
    if is_module(type(component)) and "_modules" not in vars(component):
        raise SegkitError(f"{path}: {NO_SUPER.format(type(component).__name__)}", key=path, value=name)
    for attribute in attributes:
        if not _has_attribute(component, attribute, f"{path}: {name}.{attribute}"):
            raise SegkitError(
                f"{path}: {name} makes a {type(component).__name__}, which is no {title}: it has no '{attribute}'"
                + f"; {hint}" * bool(hint),
                key=path,
                value=name,
            )


def _has_attribute(component: Any, attribute: str, where: str) -> bool:
    """Whether a component has an attribute.

    Raises a SegkitError if it is a property that raises an error.
    """
    stored = inspect.getattr_static(type(component), attribute, None)
    if not isinstance(stored, property) or stored.fget is None:
        return hasattr(component, attribute)
    try:
        # Not by getattr: Module.__getattr__ replaces an AttributeError inside a property by "no attribute 'NAME'".
        stored.fget(component)
        return True
    except SegkitError:
        raise
    except Exception as error:
        raise SegkitError(f"{where} cannot be read: {type(error).__name__}: {error}{last_line(error)}") from error


def is_module(kind: type) -> bool:
    """Whether a class is a subclass of torch.nn.Module; does not import torch."""
    return any(base.__module__ == "torch.nn.modules.module" for base in kind.__mro__)


def construct(component: Any, schema: Signature, arguments: dict[str, Any], name: str, path: str) -> Any:
    """Calls a constructor; errors about its arguments become a SegkitError with the key path.

    Errors of other types are defects of the component and pass through.
    """
    if inspect.isabstract(component):
        missing = ", ".join(sorted(component.__abstractmethods__))
        raise SegkitError(f"{path}: {name} does not define the abstract methods {missing}", key=path)
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
        if is_out_of_memory(error) or _overflows(error):
            raise SegkitError(f"{path}: {name} is too large for the memory: {line}", key=path) from error
        if schema.module.split(".")[0] in ("torch", "torchvision"):  # more likely bad arguments than a defect of torch
            raise SegkitError(
                f"{path}: {name} refuses its arguments: {type(error).__name__}: {line}", key=path
            ) from error
        if schema.extra_options and isinstance(error, TypeError) and "argument" in line:
            raise SegkitError(f"{path}: {name}, which passes **kwargs on: {line}", key=path) from error
        raise


def _overflows(error: Exception) -> bool:
    """Whether a size is too large even for an integer.

    torch and NumPy raise several types of errors for it.
    """
    types = (RuntimeError, TypeError, OverflowError)
    return isinstance(error, types) and any(text in str(error).lower() for text in ("overflow", "too large"))


def last_line(error: BaseException) -> str:
    """Where an error was raised, as the end of a message: `` (in FILE, line N)``.

    Frames in torch are skipped.
    """
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}torch{os.sep}" not in f.filename]
    return f" (in {frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
