"""Tables of a configuration's values and origins, of all keys, and of all components."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterator
from typing import Any

from tabulate import tabulate

from segkit.config.nodes import join
from segkit.config.schema import Config, Help
from segkit.config.spec import Spec, to_plain
from segkit.config.specs import section_fields, section_of
from segkit.config.typecheck import accepts_none, type_text
from segkit.config.yaml_reader import write_yaml
from segkit.registry import ALL_REGISTRIES, Registry, SlotList, find_slot
from segkit.utils.components.dotted_path import locate_class
from segkit.utils.components.signature import source_of
from segkit.utils.errors import SegkitError, did_you_mean

WIDTH = 70


def describe_values(cfg: Config) -> str:
    """Returns a table of every resolved value with its origin."""
    rows = [[path, inline(value), cfg.origins.get(path, "")] for path, value in leaves(cfg)]
    return _table(rows, ["key", "value", "from"])


def describe_keys() -> str:
    """Returns a table of every key of the schema with its type, default and meaning."""
    return _table([list(row) for row in _key_rows(Config, "")], ["key", "type", "default", "meaning"])


def describe_components(which: str | None = None) -> str:
    """Returns the registered components with their arguments, as text.

    Args:
        which: a registry (``BACKBONE`` or ``BACKBONE_REGISTRY``), a component's name, or None for everything.
    Raises:
        SegkitError: neither a registry nor a component has that name.
    """
    if which is None:
        return "\n\n".join(_registry_text(registry) for registry in ALL_REGISTRIES)
    by_name = {_name(registry): registry for registry in ALL_REGISTRIES}
    word = which.upper().removesuffix("_REGISTRY")
    if word in by_name:
        return _registry_text(by_name[word])
    holders = [registry for registry in ALL_REGISTRIES if which in registry or registry.takes_path(which)]
    if not holders and "." in which:
        locate_class(which, object, "component")  # raises with the nearest names
        raise SegkitError(f"'{which}' is not a component of any registry", value=which)
    if not holders:
        names = [*by_name, *(name for registry in ALL_REGISTRIES for name in registry.names())]
        raise SegkitError(f"no registry or component is called '{which}'{did_you_mean(which, names)}", value=which)
    return "\n\n".join(_component_text(registry, which) for registry in holders)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields key path and value of all but sections, specs and lists of specs."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not hasattr(value, "to_plain"):
        for key in section_fields(type(value)):
            yield from leaves(getattr(value, key), join(path, key))
    elif isinstance(value, Spec):
        for key in value:
            yield from leaves(value[key], join(path, key))
    elif isinstance(value, tuple) and value and all(isinstance(item, Spec) for item in value):
        for i, item in enumerate(value):
            yield from leaves(item, join(path, i))
    else:
        yield path, value


def inline(value: Any) -> str:
    """Writes a plain value as one line of YAML."""
    return write_yaml([to_plain(value)], one_line=True).strip()[1:-1]


def _key_rows(section: type, path: str) -> Iterator[tuple[str, str, str, str]]:
    for key, (field, annotation) in section_fields(section).items():
        here, inner = join(path, key), section_of(annotation)
        text = next(extra.text for extra in _extras(annotation) if isinstance(extra, Help))
        yield here, "a section" if _is_section(annotation) else _type(annotation), _default(field, annotation), text
        if inner is not None:
            yield from _key_rows(inner, here)


def _extras(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__metadata__", ())


def _is_section(annotation: Any) -> bool:
    return typing.get_args(annotation)[0] is section_of(annotation)


def _default(field: dataclasses.Field[Any], annotation: Any) -> str:
    if _is_section(annotation):
        return ""
    if field.default is not dataclasses.MISSING:
        return inline(field.default)
    return inline(field.default_factory()) if field.default_factory is not dataclasses.MISSING else "(required)"


def _type(annotation: Any) -> str:
    slot = find_slot(annotation)
    if slot is None:
        return type_text(annotation)
    text = f"{'a list of specs' if isinstance(slot, SlotList) else 'a spec'} ({_name(slot.registry)})"
    if (inner := section_of(annotation)) is not None:
        text += f" or {{{', '.join(f'{key}: ...' for key in section_fields(inner))}}}"
    return f"{text} or null" if accepts_none(annotation) else text


def _name(registry: Registry) -> str:
    return registry.title.upper().replace(" ", "_")


def _registry_text(registry: Registry) -> str:
    names = registry.names()
    title = f"{_name(registry)}_REGISTRY ({len(names)} component{'' if len(names) == 1 else 's'})"
    return "\n\n".join([f"{title}\n{'=' * len(title)}", *(_component_text(registry, name) for name in names)])


def _component_text(registry: Registry, name: str) -> str:
    component = registry.get(name)
    schema = registry.signature(name)
    lines = [f"{{{registry.key}: {name}}}  {source_of(component)}"]
    doc = inspect.getdoc(component) if component.__doc__ else None
    lines += [f"  {doc.splitlines()[0]}"] if doc else []
    rows = [[key, _type(schema.annotations.get(key, Any)), _argument_default(parameter)]
            for key, parameter in schema.options.items()]  # fmt: skip
    rows += [["**kwargs", "anything", "passed on"]] if schema.extra_options else []
    table = _table(rows, ["argument", "type", "default"]) if rows else "(takes no arguments)"
    return "\n".join([*lines, *(f"  {line}" for line in table.splitlines())])


def _argument_default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "(required)"
    try:
        return inline(parameter.default)
    except Exception:  # PyYAML cannot represent it, as a class
        return repr(parameter.default)


def _table(rows: list[list[str]], headers: list[str]) -> str:
    widths = [None, WIDTH, WIDTH, WIDTH][: len(headers)]
    return tabulate(rows, headers=headers, tablefmt="simple", disable_numparse=True, maxcolwidths=widths)
