"""JSON schemas of annotations: they accept the values that a configuration accepts, and no others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest

from segkit.config import Bounds, Period
from segkit.config.json_schema import json_schema
from segkit.config.json_types import type_schema
from segkit.config.parameter_rule import ParameterRule
from segkit.config.typecheck import Mismatch, convert

VALUES: list[Any] = [
    None, True, False, 0, 1, 3, -1, 2.5, 4.0, 1e400, "", "a", "b", "3", "1 epoch", "2.5 epochs", "500 iterations", "-1", [],
    [1], [1, 2], [1.5, 2], ["a"], ["a", "b"], [[1], [2, 3]], [None], {}, {"a": 1}, {"a": "x"}, {"match": "a", "freeze": True},
    {"match": "a", "lr_factor": 0.5}, {"lr_factor": 1}, {"match": "a", "other": 1}, {"match": "a"},
]  # fmt: skip


@pytest.mark.parametrize(
    "annotation",
    [
        int, float, bool, str, Any, None, int | None, float | Sequence[float], str | Mapping[str, Any], Literal["a", 3, None],
        Annotated[int, Bounds(1)], Annotated[float | None, Bounds(0, 2.5, open_low=True, open_high=True)], Sequence[int],
        list[str], tuple[int, ...], tuple[int, int], tuple[float, float], tuple[str, int], Sequence[Sequence[int]],
        dict[str, int], Mapping[str, str], dict, list, Path, Path | None, Period, Annotated[Period, "text"],
        tuple[ParameterRule, ...], ParameterRule,
    ],
    ids=str,
)  # fmt: skip
def test_the_schema_and_the_loader_accept_the_same(annotation):
    validator = jsonschema.Draft7Validator(type_schema(annotation))
    for value in VALUES:
        try:
            convert(value, annotation)
            accepted = True
        except Mismatch:
            accepted = False
        assert validator.is_valid(value) == accepted, value


def test_short_forms():
    assert type_schema(int | None) == {"type": ["integer", "null"]}
    assert type_schema(Annotated[int, Bounds(1)]) == {"type": "integer", "minimum": 1}
    assert type_schema(Sequence[str]) == {"type": "array", "items": {"type": "string"}}
    assert type_schema(Annotated[int | None, Bounds(1)] | None) == {"type": ["integer", "null"], "minimum": 1}
    assert type_schema(int | Any) == {} and type_schema(type) == {}


def test_the_registered_components_are_in_it():
    """Those of conftest.py: slots, lists of slots, and defaults that JSON cannot hold."""
    whole = json_schema()
    jsonschema.Draft7Validator.check_schema(whole)
    json.dumps(whole, allow_nan=False)
    definitions = whole["definitions"]
    assert "BACKBONE.TinyNet" in definitions and "BACKBONE.ResNet" not in definitions
    model = definitions["META_ARCH.Detector"]["properties"]
    assert "num_classes" not in model and model["neck"]["default"] == {"name": "FPN", "out_channels": 64}
    assert {"type": "null"} in model["extra"]["anyOf"] and model["necks"]["items"]["$ref"].endswith("NECK.item")
    assert "default" not in definitions["BACKBONE.BigNet"]["properties"]["act"]
    validator = jsonschema.Draft7Validator(whole)
    assert validator.is_valid({"model": {"name": "Detector", "necks": [{"name": "FPN"}], "extra": None}})
    assert not validator.is_valid({"model": {"name": "Detector", "necks": [{"out_channels": 3}]}})
    assert not validator.is_valid({"model": {"backbone": {"name": "TinyNet", "drop": 1.5}}})
