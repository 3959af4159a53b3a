"""Comments stand above their keys, and do not change what is read."""

import copy
import dataclasses
import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.config.commented_yaml import write_commented_yaml
from segkit.config.yaml_reader import read_yaml

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=4),
    max_leaves=12,
)
TREES = st.dictionaries(st.text("abcxyz_", min_size=1, max_size=8), VALUES, min_size=1, max_size=5)


def paths(value, path=""):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield f"{path}{key}"
        yield from paths(inner, f"{path}{key}.")


@settings(max_examples=25, deadline=None)
@given(TREES, st.integers(0, 10))
def test_round_trip(tree, skip):
    comments = {path: f"reason # of\n{path!r}: {{" for i, path in enumerate(paths(tree)) if i % 3 != skip % 3}
    assert read_yaml(write_commented_yaml(tree, comments, "head\nof it"), "test").plain() == tree


def test_layout():
    tree = {"a": {"b": 1, "c": [{"name": "x", "y": 2}, {"name": "z"}]}, "long": list(range(60)), "d": {}, "e": []}
    comments = {"a.c.0": "why x " * 30, "a.b": "why b", "a.c.1.name": "why z"}
    lines = write_commented_yaml(tree, comments, "head").splitlines()
    assert lines[:4] == ["# head", "a:", "  # why b", "  b: 1"]
    assert lines[4] == "  c:" and lines[5].startswith("    # why x") and max(map(len, lines)) <= 118
    assert "    - {name: x, y: 2}" in lines
    at = lines.index("      # why z")
    assert lines[at - 1 : at + 2] == ["    -", "      # why z", "      name: z"]
    assert "d: {}" in lines and "e: []" in lines and "long:" in lines


def test_comments_are_no_values(load):
    """A configuration with comments is equal to one without, and copies and pickles keep them."""
    plain = load()
    cfg = dataclasses.replace(plain, comments={"train.epochs": "A reason."})
    assert cfg == plain and hash(cfg) == hash(plain) and "A reason." in cfg.to_yaml()
    for copied in (copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert copied == cfg and copied.comments == cfg.comments and copied.origins == cfg.origins
    # A reason may not hold for other values.
    assert not cfg.with_values({"data.batch_size": 2}).comments and not cfg.with_overrides(["train.epochs=3"]).comments
