"""Builds layers from a class's dotted path and arguments, for ``norm`` and ``activation``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from segkit.utils.components.dotted_path import dotted_hint, locate_class
from segkit.utils.components.signature import signature_of
from segkit.utils.errors import SegkitError, did_you_mean


def split_spec(spec: Any, what: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a spec ``NAME`` or ``{name: NAME, argument: value}``.

    Args:
        spec: of a configuration.
        what: ``norm`` or ``activation``.
    """
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping) and isinstance(spec.get("name"), str):
        return spec["name"], {key: value for key, value in spec.items() if key != "name"}
    article = "an" if what[0] in "aeiou" else "a"
    raise SegkitError(
        f"expected the name of {article} {what} or {{name: NAME, ...}}, given {spec!r}", key=what, value=spec
    )


def layer_class(name: str, what: str, names: Sequence[str], homes: Sequence[str]) -> type[nn.Module]:
    """The layer class with a dotted path.

    Args:
        name: such as ``torch.nn.GroupNorm``.
        what: ``norm`` or ``activation``.
        names: the short names that are also valid, for the message.
        homes: modules of torch and torchvision that define such layers; other libraries' classes may be anywhere.
    Raises:
        SegkitError: there is no such class, or it is another kind of layer.
    """
    if "." not in name:
        own = "" if name.lower() in names else dotted_hint(name, nn.Module, ["torch.nn"])
        raise SegkitError(
            f"there is no {what} '{name}'{own or did_you_mean(name, names)}", key=what, value=name, choices=names
        )
    cls = locate_class(name, nn.Module, what, ["torch.nn"])
    top = cls.__module__.split(".")[0]
    if (top in ("torch", "torchvision") and cls.__module__ not in homes) or cls.__name__.startswith("Lazy"):
        raise SegkitError(f"'{name}' is a layer but no {what}{did_you_mean('', names)}", key=what, value=name)
    return cls


def check_arguments_of(cls: type[nn.Module], name: str, arguments: Mapping[str, Any], filled: Sequence[str]) -> None:
    """Raises a SegkitError for an argument that is unknown, missing, or set by the component.

    Args:
        cls: the layer's class.
        name: its dotted path.
        arguments: of the configuration.
        filled: parameters that the component sets.
    """
    schema = signature_of(cls, frozenset())
    options = [key for key in schema.options if key not in filled and key not in ("device", "dtype")]
    for key in arguments:
        if key in filled:
            raise SegkitError(f"'{key}' of {name} is the number of channels, which the model sets; remove it")
        if key not in options and not schema.extra_options:
            raise SegkitError(f"{name} has no argument '{key}'{did_you_mean(key, options)}")
    for key in options:
        if key not in arguments and schema.options[key].default is schema.options[key].empty:
            raise SegkitError(f"{name} needs the argument '{key}': {{name: {name}, {key}: ...}}")


def make_layer(
    cls: type[nn.Module], name: str, arguments: Mapping[str, Any], works: Callable[[nn.Module], bool]
) -> nn.Module:
    """Builds the layer; raises a SegkitError if it fails or does not pass ``works``."""
    try:
        layer = cls(**arguments)
        mode = layer.training
        with torch.no_grad():
            good = works(layer.eval())
        layer.train(mode)
    except SegkitError:
        raise
    except Exception as error:  # torch raises many types
        given = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise SegkitError(f"{name}({given}) does not work here: {type(error).__name__}: {error}") from error
    if not good:
        raise SegkitError(f"{name} does not work here: it changes the shape of a map, or mixes its pixels")
    return layer
