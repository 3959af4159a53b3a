# ruff: noqa: UP007, UP045 - a case a line
from __future__ import annotations

import collections.abc
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Optional, TypeVar, Union

import pytest

from segkit.config.period import Period
from segkit.config.typecheck import Bounds, accepts_none, coerce, type_text
from segkit.utils.errors import SegkitError

Unit = Annotated[float, Bounds(0, 1)]


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, int, 3), (3, float, 3.0), (1e-4, float, 1e-4), (2e8, int, 200_000_000), (True, bool, True), ("x", str, "x"),
        (None, None, None), (None, Optional[int], None), (3, int | None, 3), (3, float | int, 3), (3, int | float, 3),
        (2.0, int | float, 2.0), (3, Optional[float], 3.0), ("x", Union[int, str], "x"), ([1], int | Sequence[int], (1,)),
        ("a", Literal["a", "b"], "a"), (50, Literal[18, 50], 50), (None, Literal["a", None], None),
        ([1, 2], Sequence[int], (1, 2)), ([1, 2], list[int], [1, 2]), ([1, 2], tuple[int, ...], (1, 2)),
        ([1, "a"], tuple[int, str], (1, "a")), ([1, 2], Sequence[float], (1.0, 2.0)), ([], Sequence[int], ()),
        ([[1], [2, 3]], Sequence[Sequence[int]], ((1,), (2, 3))), ([1, "a"], list, [1, "a"]), ([1], tuple, (1,)),
        ({"a": 1}, Mapping[str, float], {"a": 1.0}), ({"a": 1}, dict, {"a": 1}), ({1: "x"}, dict[int, str], {1: "x"}),
        ({"a": [1]}, dict[str, list[int]], {"a": [1]}), ({"x": [1]}, Any, {"x": [1]}), (3, TypeVar("T"), 3),
        (0.5, Unit, 0.5), (1, Unit, 1.0), ([0.5], Sequence[Unit], (0.5,)), (None, Annotated[int | None, Bounds(1)], None),
        (500, Period, Period(500)), ("1 epoch", Period, Period(1, "epoch")), ("2 epochs", Period | None, Period(2, "epoch")),
        ((1, 2), collections.abc.Collection[int], (1, 2)), ([1], collections.abc.MutableSequence[int], [1]),
    ],
)  # fmt: skip
def test_values_of_the_type(value, annotation, expected):
    got = coerce(value, annotation, "a.b", "f.yaml:3")
    assert got == expected and type(got) is type(expected)
    if isinstance(expected, (tuple, list)):
        assert [type(item) for item in got] == [type(item) for item in expected]


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        ("x", int, "expected an integer, given the text 'x'"),
        ("5", int, "expected an integer, given the text '5'"),
        (2.5, int, "expected an integer, given 2.5"),
        (math.inf, int, "expected an integer, given inf"),
        (True, int, "expected an integer, given true"),
        (True, float, "expected a number, given true"),
        (10**400, float, "expected a number, given 1000000"),
        (True, int | float | None, "expected an integer or a number or null, given true"),
        (1, bool, "expected true or false, given 1"),
        ("yes", bool, "expected true or false, given the text 'yes'"),
        (5, str, "expected text, given 5 (write '5' in quotes)"),
        (None, int, "expected an integer, given null"),
        (3, None, "expected null, given 3"),
        ("bf17", Literal["bf16", "fp32"], "'bf17' is not one of the choices; did you mean 'bf16'?"),
        ("bf17", Literal["bf16", "fp32"] | None, "'bf17' is not one of the choices; did you mean 'bf16'?"),
        ("zzz", Literal["bf16", "fp32"], "'zzz' is not one of the choices; valid: bf16, fp32"),
        (51, Literal[18, 50], "expected 18 or 50, given 51"),
        (True, Literal[1], "expected 1, given true"),
        (3, Sequence[int], "expected a list, each an integer, given 3"),
        ("abc", Sequence[str], "expected a list, each text, given the text 'abc'"),
        ([1, "a"], Sequence[int] | None, "expected an integer, given the text 'a'"),
        ([1, 2, 3], tuple[int, int], "expected a list of 2: an integer, an integer, given the list [1, 2, 3]"),
        ([1], Mapping[str, int], "expected a mapping to an integer, given the list [1]"),
        ({"a": 1}, int, "expected an integer, given the mapping {'a': 1}"),
        (2, Unit, "must be at least 0 and at most 1, given 2.0"),
        (math.nan, Unit, "must be at least 0 and at most 1, given nan"),
        (0, Annotated[int | None, Bounds(1)], "must be at least 1, given 0"),
        (0, Annotated[float, Bounds(0, open_low=True)], "must be above 0, given 0.0"),
        (
            "often",
            Period,
            "expected iterations, as 500, or epochs, as '1 epoch' (0 means never), given the text 'often'",
        ),
        ("-1 epoch", Period, "a period cannot be -1.0"),
        (True, Period, "expected iterations"),
        ("x", type, "expected type, given the text 'x'"),
    ],
)
def test_values_of_another_type(value, annotation, message):
    with pytest.raises(SegkitError) as caught:
        coerce(value, annotation, "a.b", "f.yaml:3")
    assert message in str(caught.value)
    assert str(caught.value).startswith("a.b")
    assert "(f.yaml:3): " in str(caught.value)


def test_the_path_leads_into_lists_and_mappings():
    with pytest.raises(SegkitError, match=r"^a\.x\.1 \(o\): expected an integer, given the text 'b'$") as caught:
        coerce({"x": [1, "b"]}, dict[str, list[int]], "a", "o")
    assert caught.value.key == "a.x.1" and caught.value.value == "b"


def test_accepts_none():
    assert accepts_none(int | None) and accepts_none(Optional[int]) and accepts_none(Annotated[int | None, 1])
    assert accepts_none(Any) and not accepts_none(int) and not accepts_none(Sequence[int])


def test_type_text():
    assert type_text(Annotated[int | None, Bounds(1)]) == "an integer at least 1 or null"
    assert type_text(Literal["a", None]) == "'a' or null"
    assert type_text(Period | None) == "a period or null"
