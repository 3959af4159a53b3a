"""The JSON schema of configurations, for completion and checks in editors.

It is generated from the typed sections and from the signatures of the registered components (pydantic would need models in
their place). It accepts the files that :func:`segkit.load_config` accepts, with these differences:

- A file may be a part of a configuration: it can inherit the rest with ``_BASE_``, so no key is required.
- A component's name may be unknown: a module in ``imports`` may register it, or it is a dotted path. Its arguments are then
  not checked. A spec without a name, which changes arguments of an inherited component, may have the arguments of any
  registered one.
- Ranges that constructors check are not in it.

``configs/schema.json`` is this schema for the components that come with segkit. After a change to an argument:
``segkit config schema --output configs/schema.json``.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from typing import Any

from segkit.config.help import help_text
from segkit.config.json_types import Schema, any_of, type_schema
from segkit.config.merge import ALTERNATIVES
from segkit.config.schema import Config
from segkit.config.spec import is_plain, to_plain
from segkit.config.specs import section_fields, section_of
from segkit.config.typecheck import accepts_none
from segkit.registry import DATASET_FORMAT_REGISTRY, Registry, Slot, SlotList, find_slot
from segkit.utils.docstrings import argument_texts, first_line

DIALECT = "http://json-schema.org/draft-07/schema#"
BASE: Schema = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    "description": "files to inherit from, relative to this one, or segkit://NAME.yaml; later ones overrule earlier ones",
}


def json_schema() -> Schema:
    """Returns the schema (draft 7) of the sections and of the components registered now."""
    return SchemaWriter().root()


def schema_text() -> str:
    """Returns the schema as the text of a file."""
    return as_text(json_schema())


def as_text(schema: Schema) -> str:
    """Returns a schema as the text of a file."""
    return json.dumps(schema, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


class SchemaWriter:
    """Collects the definitions that the schema refers to, each once."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}

    def root(self) -> Schema:
        whole = self.section_body(Config)
        whole["properties"] = {"_BASE_": BASE, **whole["properties"]}
        return {
            "$schema": DIALECT,
            "title": "segkit configuration",
            "$comment": "written by: segkit config schema --output FILE",
            **whole,
            "definitions": dict(sorted(self.definitions.items())),
        }

    def _section(self, section: type) -> Schema:
        name = section.__name__
        if name not in self.definitions:
            self.definitions[name] = self.section_body(section)
        return _reference(name)

    def section_body(self, section: type) -> Schema:
        """The schema of a section; those that it refers to are added to the definitions."""
        properties = {}
        for key, (field, annotation) in section_fields(section).items():
            text = help_text(annotation)
            default = field.default if section_of(annotation) is None or field.default is None else _NOTHING
            if callable(field.default_factory) and section_of(annotation) is None:
                default = field.default_factory()
            properties[key] = _described(self._value(annotation), text, default)
        # A section with all its lines commented out is null.
        body = {"type": ["object", "null"], "properties": properties, "additionalProperties": False}
        for keys in ALTERNATIVES.values():
            if set(keys) <= properties.keys():
                both = {key: {"not": {"type": "null"}} for key in keys}
                body["not"] = {"type": "object", "required": list(keys), "properties": both}
        return body

    def _value(self, annotation: Any) -> Schema:
        """The schema of a section, of a component, of a list of components, or of a plain value."""
        slot, section = find_slot(annotation), section_of(annotation)
        if isinstance(slot, SlotList):
            return {"type": "array", "items": self._item(slot.registry)}
        members = [self._spec(slot.registry)] if isinstance(slot, Slot) else []
        if isinstance(slot, Slot) and slot.registry is DATASET_FORMAT_REGISTRY:
            members.append({"type": "string"})  # a path, whose format is recognised
        members += [self._section(section)] if section is not None else []
        if not members:
            return type_schema(annotation)
        return any_of([*members, {"type": "null"}] if accepts_none(annotation) else members)

    def _spec(self, registry: Registry) -> Schema:
        """A component's spec. Without a name it changes arguments of an inherited spec."""
        title = _title(registry)
        if title not in self.definitions:
            self.definitions[title] = {}  # a component may hold others of its kind
            names = registry.names()
            known = [{"const": name, **_text(first_line(registry.get(name)))} for name in names]
            other = {
                "type": "string",
                "description": f"a {registry.title} that a module in imports registers, or a dotted path",
            }
            choices = [{"if": _named(registry, name), "then": self._component(registry, name)} for name in names]
            self.definitions[title] = {
                "type": "object",
                "properties": {registry.key: {"anyOf": [*known, other]}},
                **({"allOf": choices} if choices else {}),
                "if": {"required": [registry.key]},
                "else": self._nameless(registry),
            }
        return _reference(title)

    def _item(self, registry: Registry) -> Schema:
        """A component's spec in a list; it is complete, as a file replaces whole lists."""
        title = f"{_title(registry)}.item"
        if title not in self.definitions:
            complete: list[Schema] = [self._spec(registry), {"required": [registry.key]}]
            for name in registry.names():
                schema = registry.signature(name)
                free = schema.inherited | schema.undecided | {registry.key}
                needed = [
                    k for k, p in schema.options.items() if p.default is inspect.Parameter.empty and k not in free
                ]
                if needed:
                    complete.append({"if": _named(registry, name), "then": {"required": needed}})
            self.definitions[title] = {"allOf": complete}
        return _reference(title)

    def _component(self, registry: Registry, name: str) -> Schema:
        title = f"{_title(registry)}.{name}"
        component, schema = registry.get(name), registry.signature(name)
        texts = argument_texts(component)
        properties: dict[str, Schema] = {registry.key: {}}
        if registry.label is not None:
            properties[registry.label] = {"type": "string", "description": "a name of your own for this component"}
        for key, parameter in schema.options.items():
            if key == registry.key:
                continue
            annotation = schema.annotations.get(key, Any)
            value = self._value(annotation)
            if parameter.default is None and not accepts_none(annotation):
                value = any_of([value, {"type": "null"}])
            default = _NOTHING if parameter.default is inspect.Parameter.empty else parameter.default
            properties[key] = _described(value, texts.get(key, ""), default)
        self.definitions[title] = {
            **_text(first_line(component)),
            "properties": properties,
            **({} if schema.extra_options else {"additionalProperties": False}),
        }
        return _reference(title)

    def _nameless(self, registry: Registry) -> Schema:
        """The arguments of all components of a registry."""
        title = f"{_title(registry)}.any"
        found: dict[str, list[Schema]] = {}
        for name in registry.names():
            body = self.definitions[f"{_title(registry)}.{name}"]
            if "additionalProperties" not in body:
                return {}
            for key, value in body["properties"].items():
                plain = {k: v for k, v in value.items() if k not in ("description", "default")}
                found.setdefault(key, []).append(plain)
        properties = {key: any_of(values) for key, values in found.items()}
        self.definitions[title] = {"properties": properties, "additionalProperties": False}
        return _reference(title)


_NOTHING = object()


def _described(value: Schema, text: str, default: Any) -> Schema:
    """A key's schema with its meaning and default."""
    texts = (text, value.get("description", ""))
    extra = _text(". ".join(part.rstrip(".") for part in texts if part))
    if is_plain(default) and _finite(plain := to_plain(default)):
        extra["default"] = plain
    if "$ref" in value and extra:  # draft 7 ignores what is beside a $ref
        value = {"allOf": [value]}
    return {**value, **extra}


def _finite(value: Any) -> bool:
    """Whether JSON can hold a plain value: it has no infinity or NaN."""
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _text(text: str) -> Schema:
    return {"description": text} if text else {}


def _title(registry: Registry) -> str:
    return registry.title.upper().replace(" ", "_")


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _named(registry: Registry, name: str) -> Schema:
    return {"properties": {registry.key: {"const": name}}, "required": [registry.key]}
