"""The JSON schema of study files, for completion and checks in editors.

It is generated from the sections of a study file and from the keys of configurations. It accepts the files that
:func:`segkit.study.study_file.read_study` accepts, and also names that no run has, since a schema cannot compare values.
Values of components, as of ``model.backbone``, are not checked in it.

``configs/study_schema.json`` is this schema for the executors that come with segkit. After a change to a key:
``segkit config schema --study --output configs/study_schema.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from segkit.config.help import help_text
from segkit.config.json_schema import DIALECT, SchemaWriter, as_text
from segkit.config.json_types import Schema, type_schema
from segkit.config.schema import Config
from segkit.config.specs import section_fields, section_of
from segkit.registry import find_slot
from segkit.study.plan import RESERVED
from segkit.study.search_space import Range
from segkit.study.study_file import NAME, RowEntry, RunEntry, StudyFile, TableEntry


def study_schema() -> Schema:
    """Returns the schema (draft 7) of study files."""
    writer = SchemaWriter()
    whole = writer.section_body(StudyFile)
    properties = whole["properties"]
    overrides = _overrides()
    run, table, row = (writer.section_body(entry) for entry in (RunEntry, TableEntry, RowEntry))
    run["properties"] = {key.rstrip("_"): value for key, value in run["properties"].items()}
    rows = {"type": "array", "minItems": 1, "items": {"anyOf": [{"type": "string"}, {**row, "required": ["run"]}]}}
    table["properties"]["rows"] = {**rows, "description": "names of runs, or runs with labels"}
    table |= {"type": "object", "required": ["rows"]}
    space = writer.definitions["Search"]["properties"]["space"]
    interval = {**writer.section_body(Range), "required": ["low", "high"]}
    writer.definitions["Search"]["required"] = ["space"]
    writer.definitions |= {"overrides": overrides, "run": run, "table": table, "range": interval}
    for one in (properties, run["properties"]):
        one["overrides"] = _refer("overrides", one["overrides"]["description"])
    choices = {"type": "array", "minItems": 1}
    properties["grid"] |= _by_key(overrides, lambda value: {**choices, "items": value})
    space |= _by_key(overrides, lambda value: {"anyOf": [{**choices, "items": value}, {"$ref": "#/definitions/range"}]})
    for key, text in (("run", "variants by name"), ("table", "rows that are compared with a baseline, by name")):
        entries = {"type": ["object", "null"], "propertyNames": {"pattern": f"^{NAME.pattern}$"}}
        properties[f"{key}s"] = {
            **entries,
            "additionalProperties": {"$ref": f"#/definitions/{key}"},
            "description": text,
        }
    return {
        "$schema": DIALECT,
        "title": "segkit study",
        "$comment": "written by: segkit config schema --study --output FILE",
        **whole,
        "type": "object",
        "required": ["output"],
        "definitions": dict(sorted(writer.definitions.items())),
    }


def study_schema_text() -> str:
    """Returns the schema as the text of a file."""
    return as_text(study_schema())


def _overrides() -> Schema:
    """Values by the key paths of configurations, which may go on within components, lists and mappings."""
    found = list(_key_paths(Config, ""))
    properties = {key: value for key, value, _ in found}
    pattern = "|".join(key.replace(".", r"\.") for key, _, goes_on in found if goes_on)
    return {
        "type": ["object", "null"],
        "properties": properties,
        "patternProperties": {rf"^({pattern})\..+$": {}},
        "additionalProperties": False,
    }


def _key_paths(section: type, prefix: str) -> Iterator[tuple[str, Schema, bool]]:
    """The keys of a section and of those within it, apart from those that the study sets.

    With each, its schema, and whether its key path goes on within a component, list or mapping.
    """
    for key, (_, annotation) in section_fields(section).items():
        path = f"{prefix}{key}"
        if path in RESERVED:
            continue
        text = help_text(annotation)
        inner, slot = section_of(annotation), find_slot(annotation)
        value: Schema = {} if inner is not None or slot is not None else type_schema(annotation)
        plain = inner is None and (not value or any(f'"{kind}"' in json.dumps(value) for kind in ("array", "object")))
        yield path, {**value, **({"description": text} if text else {})}, slot is not None or plain
        if inner is not None:
            yield from _key_paths(inner, f"{path}.")


def _by_key(overrides: Schema, wrap: Callable[[Schema], Schema]) -> Schema:
    """A mapping with the keys of overrides, whose values are made of theirs."""
    named = {
        key: wrap({"$ref": f"#/definitions/overrides/properties/{key}"}) | _text(value)
        for key, value in overrides["properties"].items()
    }
    patterns = {pattern: wrap(value) for pattern, value in overrides["patternProperties"].items()}
    return {
        "type": ["object", "null"],
        "properties": named,
        "patternProperties": patterns,
        "additionalProperties": False,
    }


def _text(value: Schema) -> Schema:
    return {"description": value["description"]} if "description" in value else {}


def _refer(name: str, text: str) -> Schema:
    return {"allOf": [{"$ref": f"#/definitions/{name}"}], "description": text}  # draft 7 ignores what is beside a $ref
