from __future__ import annotations

import math

import pytest

from segkit.config.yaml_reader import read_yaml, write_yaml
from segkit.utils.errors import SegkitError


def plain(text: str):
    return read_yaml(text, "f.yaml").plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("-1E5", -1e5), ("1.5e3", 1500.0), ("1.", 1.0), (".5", 0.5), ("+.5e-1", 0.05), (".inf", math.inf),
        ("1.0e-06", 1e-6), ("7", 7), ("-7", -7), ("200_000_000", 200_000_000), ("0x1F", 31), ("0", 0),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        # which YAML 1.1 reads otherwise
        ("no", "no"), ("on", "on"), ("12:30", "12:30"), ("010", "010"), ("2024-01-01", "2024-01-01"), ("1 epoch", "1 epoch"),
        ("e5", "e5"), (".", "."), ("1e", "1e"), ("'1e-4'", "1e-4"), ("segm/AP", "segm/AP"), ("_", "_"), ("cuda:1", "cuda:1"),
    ],
)  # fmt: skip
def test_scalars(text, value):
    got = plain(f"key: {text}")["key"]
    assert got == value and type(got) is type(value)


def test_every_value_knows_its_line():
    node = read_yaml("a: 1\nb:\n  c: [1,\n      2]\n\n  d:\n    e: x\n", "f.yaml")
    b = node.value["b"]
    assert node.value["a"].origin == "f.yaml:1"
    assert b.origin == "f.yaml:2", "a nested mapping has the line of its key"
    assert [child.origin for child in b.value["c"].value] == ["f.yaml:3", "f.yaml:4"]
    assert b.value["d"].value["e"].origin == "f.yaml:7"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"^f\.yaml:3: the key 'a' is given twice, first in line 1$"),
        ("x: {a: 1, a: 1}", r"the key 'a' is given twice"),
        ("a: [1, 2\nb: 3", r"^f\.yaml:2: not YAML: "),
        ("a: 1\n b: 2", r"^f\.yaml:2: not YAML: "),
        ("a: \t1\n\tb: 2", r"not YAML"),
        ("a: 1\n---\nb: 2", r"not YAML: .*another document"),
        ("a: *nowhere", r"not YAML: .*undefined alias"),
        ("a: !!python/object/apply:os.system ['ls']", r"f\.yaml:1: .*tag|not allowed"),
        ("a: !!python/name:os.system x", r"the YAML tag '.*os.system' is not allowed"),
        ("a: !mine 3", r"the YAML tag '!mine' is not allowed"),
        ("[1]: 2", r"a key must be a word or a number"),
        ("a: \x00", r"^f\.yaml: not YAML"),
        ("a: &a [*a]", r"an alias that contains itself"),
        ("a: &a {<<: *a}", r"an alias that contains itself"),
        ("a: {<<: 1}", r"^f\.yaml:1: '<<' takes a mapping"),
        ("a: {<<: [1]}", r"^f\.yaml:1: '<<' takes a mapping"),
        ("\na: !!bool perhaps", r"^f\.yaml:2: not YAML: 'perhaps'.*true or false"),
        ("a: !!int ''", r"^f\.yaml:1: not YAML: ''.*integer"),
        ("a: !!float x", r"^f\.yaml:1: not YAML: 'x'.*number"),
        ("a: " + "[" * 3000, r"nested too deep"),
        ("a: " + "{a: " * 1500, r"nested too deep"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(SegkitError, match=message):
        read_yaml(text, "f.yaml")


def test_aliases_and_merge_keys():
    text = "base: &b {lr: 1, p: 2}\nother: {<<: *b, p: 3}\nlist: [*b, *b]\n"
    assert plain(text) == {"base": {"lr": 1, "p": 2}, "other": {"lr": 1, "p": 3}, "list": [{"lr": 1, "p": 2}] * 2}


def test_of_several_merged_mappings_the_first_wins():
    text = "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: &c {<<: *b, z: 3}\nd: {<<: [*a, *c], z: 4}\ne: {w: 0, <<: *a}\n"
    found = plain(text)
    assert found["d"] == {"x": 1, "y": 2, "z": 4} and found["e"] == {"w": 0, "x": 1}


@pytest.mark.parametrize("first", ["{}", "{x: 1}"])
def test_merged_mappings_that_merge_others_twice_stay_small(first):
    lines = [f"a0: &a0 {first}", *(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 40))]
    assert plain("\n".join(lines))["a39"] == plain(first)


def test_merged_mappings_that_grow_are_stopped(monkeypatch):
    monkeypatch.setattr("segkit.config.yaml_reader.MAX_VALUES", 1000)
    lines = ["a0: &a0 {}", *(f"a{i}: &a{i} {{<<: *a{i - 1}, k{i}: 1}}" for i in range(1, 100))]
    with pytest.raises(SegkitError, match=r"f\.yaml:4\d: more than 1000 values"):
        read_yaml("\n".join(lines), "f.yaml")


def test_merged_and_aliased_values_have_the_origins_of_where_they_are_written():
    node = read_yaml("a: &a\n  x: [1]\nb:\n  <<: *a\n  y: 2\nc: *a\n", "f.yaml")
    assert node.value["b"].value["x"].origin == "f.yaml:2" and node.value["b"].value["y"].origin == "f.yaml:5"
    assert node.value["c"].origin == "f.yaml:6" and node.value["c"].value["x"].origin == "f.yaml:2"


def test_aliases_that_multiply_are_stopped(monkeypatch):
    monkeypatch.setattr("segkit.config.yaml_reader.MAX_VALUES", 1000)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(SegkitError, match="more than 1000 values"):
        read_yaml("\n".join(lines), "f.yaml")


@pytest.mark.parametrize(
    "value",
    ["1e-4", "no", "yes", "null", "~", "", "12:30", "010", "2024-01-01", "1_000", "0x1F", ".inf", "true", "a: b", "#x", "é",
     "- a", "[", "line\nline", " x ", 1e-4, 1e-6, 1e20, 1e5, -0.0, math.inf, 7, True, None, [], {}, [[1], {"a": [2]}]],
)  # fmt: skip
def test_written_values_are_read_back_equal(value):
    got = plain(write_yaml({"key": value}))["key"]
    assert got == value and type(got) is type(value)
    assert plain(write_yaml([value], one_line=True)) == [value]


def test_shared_values_are_written_out():
    shared = [1, 2]
    assert "&" not in write_yaml({"a": shared, "b": shared})
