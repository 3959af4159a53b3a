"""The values of a configuration that differ from the defaults."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from segkit.config.schema import Config
from segkit.config.spec import Spec, to_plain
from segkit.config.specs import defaults, section_fields, section_of
from segkit.engine.config_diff import ConfigChange
from segkit.registry import Registry, Slot, SlotList, find_slot

SKIPPED = ("output_dir", "imports", "imports_from")  # of every run its own


def differences_from_defaults(config: Config) -> list[ConfigChange]:
    """Returns the keys whose value is not the default, in the order of the configuration.

    The default of a section's key is the schema's, that of a component's argument its constructor's. A component that is
    not the default one is one line with its name; its own arguments follow if they differ from its defaults.
    """
    found = _of_section(config, Config, "")
    return [change for change in found if change.key not in SKIPPED]


def _of_section(section: Any, schema: type, path: str) -> Iterator[ConfigChange]:
    given = defaults(schema).value
    for key, (_, annotation) in section_fields(schema).items():
        here, value = f"{path}.{key}" if path else key, getattr(section, key)
        inner, slot = section_of(annotation), find_slot(annotation)
        default = given[key].plain() if key in given else None
        if isinstance(value, Spec) and slot is not None:
            yield from _of_spec(value, slot.registry, default, here)
        elif isinstance(slot, SlotList):
            yield from _of_list(value, slot.registry, default, here)
        elif inner is not None and dataclasses.is_dataclass(value):
            yield from _of_section(value, inner, here)
        elif to_plain(value) != default:
            yield ConfigChange(here, default, to_plain(value))


def _of_spec(spec: Mapping[str, Any], registry: Registry, default: Any, path: str) -> Iterator[ConfigChange]:
    name = spec[registry.key]
    usual = default.get(registry.key) if isinstance(default, Mapping) else None
    if name != usual:
        yield ConfigChange(f"{path}.{registry.key}", usual, name)
    signature = registry.signature(name)
    for key, value in spec.items():
        if key in (registry.key, registry.label):
            continue
        here = f"{path}.{key}"
        parameter, slot = signature.options.get(key), signature.slots.get(key)
        fixed = default.get(key) if isinstance(default, Mapping) and name == usual else None
        if fixed is None and parameter is not None and parameter.default is not inspect.Parameter.empty:
            fixed = to_plain(parameter.default)
        if isinstance(slot, Slot) and isinstance(value, Mapping) and slot.registry.key in value:
            yield from _of_spec(value, slot.registry, fixed, here)
        elif isinstance(slot, SlotList) and isinstance(value, list | tuple):
            yield from _of_list(value, slot.registry, fixed, here)
        elif to_plain(value) != fixed:
            yield ConfigChange(here, fixed, to_plain(value))


def _of_list(specs: Any, registry: Registry, default: Any, path: str) -> Iterator[ConfigChange]:
    """A list of components is one value: what differs are the arguments that are no defaults."""
    short = [_shortened(spec, registry) for spec in specs]
    usual = [_shortened(spec, registry) for spec in default or ()]
    if short != usual:
        yield ConfigChange(path, usual, short)


def _shortened(spec: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """A spec without the arguments that have their default."""
    options = registry.signature(spec[registry.key]).options
    return {
        key: to_plain(value)
        for key, value in spec.items()
        if key == registry.key or key not in options or to_plain(options[key].default) != to_plain(value)
    }
