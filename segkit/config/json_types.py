"""Converts type annotations to JSON schemas.

:func:`segkit.config.typecheck.coerce` accepts the same values.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar

from segkit.config.parameter_rule import ParameterRule
from segkit.config.period import Period
from segkit.config.typecheck import MAPPINGS, SEQUENCES, UNIONS, Bounds, Checked

Schema = dict[str, Any]
PLAIN: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    None: {"type": "null"},
    type(None): {"type": "null"},
}
PERIOD: Schema = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": r"^\s*[0-9_]+(\.[0-9]*)?\s*(iterations?|epochs?)?\s*$"},
    ]
}


def type_schema(annotation: Any) -> Schema:
    """Returns the JSON schema of a type; ``{}``, any value, if only the class can check it."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any or annotation is inspect.Parameter.empty or isinstance(annotation, TypeVar):
        return {}
    if origin is Annotated:
        return {**type_schema(arguments[0]), **_limits(annotation.__metadata__)}
    if origin in UNIONS:
        return any_of([type_schema(inner) for inner in arguments])
    if origin is Literal:
        return {"enum": list(arguments)}
    kind = origin or annotation
    if kind in MAPPINGS:
        inner = type_schema(arguments[1]) if arguments else {}
        return {"type": "object", **({"additionalProperties": inner} if inner else {})}
    if kind in SEQUENCES:
        return _sequence(kind, arguments)
    if kind is Period:
        return PERIOD
    if kind is ParameterRule:
        return _parameter_rule()
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return {"type": "string"}
    return dict(PLAIN.get(kind, {})) if kind is None or isinstance(kind, type) else {}


def any_of(members: list[Schema]) -> Schema:
    """Returns the schema of the values that match at least one member, in its shortest form."""
    unique = [member for i, member in enumerate(members) if member not in members[:i]]
    if any("null" in member.get("type", ()) for member in unique if member != PLAIN[None]):
        unique = [member for member in unique if member != PLAIN[None]]
    if {} in unique:
        return {}
    if len(unique) == 1:
        return unique[0]
    if all(member.keys() == {"type"} and isinstance(member["type"], str) for member in unique):
        return {"type": [member["type"] for member in unique]}
    return {"anyOf": unique}


def _limits(extras: tuple[Any, ...]) -> Schema:
    """The range and the description that ``Annotated`` adds."""
    # Of a union, JSON schema applies the range to numbers only, as the loader does.
    found: Schema = {}
    for extra in extras:
        if isinstance(extra, Checked):
            found["description"] = extra.text
        if isinstance(extra, Bounds) and extra.low > -math.inf:
            found["exclusiveMinimum" if extra.open_low else "minimum"] = _short(extra.low)
        if isinstance(extra, Bounds) and extra.high < math.inf:
            found["exclusiveMaximum" if extra.open_high else "maximum"] = _short(extra.high)
    return found


def _short(number: float) -> float:
    return int(number) if number == int(number) else number


def _sequence(kind: Any, arguments: tuple[Any, ...]) -> Schema:
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        count = len(arguments)
        items = [type_schema(inner) for inner in arguments]
        same = all(item == items[0] for item in items)
        return {"type": "array", "items": items[0] if same else items, "minItems": count, "maxItems": count}
    inner = type_schema(arguments[0]) if arguments else {}
    return {"type": "array", **({"items": inner} if inner else {})}


def _parameter_rule() -> Schema:
    hints = typing.get_type_hints(ParameterRule)
    factors = {name: {**type_schema(hints[name]), "minimum": 0} for name in ("lr_factor", "weight_decay")}
    properties = {f.name: factors.get(f.name, type_schema(hints[f.name])) for f in dataclasses.fields(ParameterRule)}
    changes = [{"required": [name]} for name in properties if name != "match"]
    return {
        "type": "object",
        "properties": properties,
        "required": ["match"],
        "anyOf": changes,
        "additionalProperties": False,
    }
