"""Values set by key path, on the command line or in a program."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from segkit.config.bare_paths import dropped_validation, expand
from segkit.config.merge import ALTERNATIVES, merge, overruled, spec_key
from segkit.config.nodes import COMMAND_LINE, Node, join, where
from segkit.config.yaml_reader import read_yaml
from segkit.utils.errors import SegkitError

KEY = re.compile(r"[A-Za-z_]\w*(\.\w+|\[\d+\])*")
ASSIGNMENT = re.compile(rf"({KEY.pattern})=(.*)", re.DOTALL)


def parse_overrides(overrides: Iterable[str]) -> list[tuple[str, Node]]:
    """Returns key paths and values of ``["train.epochs", "3", "train.seed=1"]``, in order.

    Raises:
        SegkitError: a key without a value, a word that is no key, or a value that is not YAML.
    """
    assert not isinstance(overrides, str), "overrides are a list of texts"
    words = iter([str(word) for word in overrides])
    return [(_normal(key), _parse_value(key, text)) for key, text in _pairs(words)]


def apply_overrides(tree: Node, overrides: Iterable[str], origin: str = COMMAND_LINE) -> Node:
    """Returns the tree with the overrides set, one after the other by :func:`set_value`."""
    parsed = parse_overrides(overrides)
    for section, keys in ALTERNATIVES.items():  # keys are set one by one below, which would not notice two alternatives
        given = {key.rpartition(".")[2]: node for key, node in parsed if key in {join(section, k) for k in keys}}
        overruled(Node(given, origin), section)
    return apply_values(tree, parsed)


def apply_values(tree: Node, values: Mapping[str, Node] | Iterable[tuple[str, Node]]) -> Node:
    """Returns the tree with values set by key path, in order."""
    done: list[str] = []
    for key, value in values.items() if isinstance(values, Mapping) else values:
        tree = set_value(tree, key, value, keep=done)
        done.append(key)
    return tree


def set_value(tree: Node, key: str, value: Node, *, keep: Iterable[str] = ()) -> Node:
    """Returns the tree with one value set.

    A spec with its name replaces the old one; a mapping without a name is merged over it. Setting the name alone drops the
    old component's arguments, except the key paths in ``keep``, which the same command has set.
    """
    return _set(tree, key.split("."), value, "", tuple(keep))


def _set(node: Node, keys: list[str], value: Node, path: str, keep: tuple[str, ...]) -> Node:
    key, rest = keys[0], keys[1:]
    here, node = join(path, key), expand(node, path)
    if isinstance(node.value, list):
        if not key.isdigit() or int(key) >= len(node.value):
            size = f"0 to {len(node.value) - 1}" if node.value else "none, it is empty"
            raise SegkitError(f"{where(here, value.origin)}: {path} is a list; its items are {size}", key=here)
        items = list(node.value)
        items[int(key)] = _set(items[int(key)], rest, value, here, keep) if rest else value
        return Node(items, node.origin)
    if node.value is not None and not isinstance(node.value, dict):
        raise SegkitError(
            f"{where(here, value.origin)}: {path} ({node.origin}) is a single value, it has no keys inside", key=here
        )
    children = dict(node.value or {})
    old = children.get(key)
    if _changes_component(key, value if not rest else None, old, path):
        children = {k: kept for k, child in children.items() if (kept := _kept(child, join(path, k), keep)) is not None}
    if rest:
        children[key] = _set(old if old is not None else Node({}, value.origin), rest, value, here, keep)
        return Node(children, node.origin)
    children.update(overruled(Node({key: value}, value.origin), path))
    if not any(name.split(".")[:2] == ["data", "val"] for name in keep):
        children.update(dropped_validation({key: value}, path, children))
    whole = isinstance(value.value, dict) and spec_key(here) in value.value
    children[key] = value if old is None or whole else merge(old, value, here)
    return Node(children, node.origin)


def _changes_component(key: str, value: Node | None, old: Node | None, path: str) -> bool:
    """Whether setting ``key`` of the mapping at ``path`` selects another component."""
    if (path, key) == ("data.val", "from_train"):
        return old is None
    return key == spec_key(path) and value is not None and (old is None or old.value != value.value)


def _kept(node: Node, path: str, keep: tuple[str, ...]) -> Node | None:
    """The part of a dropped argument that the same command has set; None if there is none."""
    if any(path == key or path.startswith(key + ".") for key in keep):
        return node
    children = {k: kept for k, child in node.items() if (kept := _kept(child, join(path, k), keep)) is not None}
    return Node(children, node.origin) if children else None


def _pairs(words: Iterator[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        if assignment := ASSIGNMENT.fullmatch(word):
            yield assignment[1], assignment[3]
            continue
        if not KEY.fullmatch(word):
            raise SegkitError(f"'{word}' (command line) is not a key; overrides are KEY VALUE or KEY=VALUE", value=word)
        value = next(words, None)
        if value is None:
            raise SegkitError(f"{word} (command line): has no value; overrides are KEY VALUE or KEY=VALUE", key=word)
        following = ASSIGNMENT.fullmatch(value)
        if following and "." in following[1]:
            raise SegkitError(
                f"{word} (command line): has no value: '{value}' is the next override",
                key=word,
            )
        yield word, value


def _parse_value(key: str, text: str) -> Node:
    if not text.strip():
        raise SegkitError(f"{key} (command line): its value is empty; write null or '\"\"'", key=key)
    try:
        return read_yaml(text, COMMAND_LINE, lines=False)
    except SegkitError as error:
        detail = str(error).removeprefix(f"{COMMAND_LINE}: ")
        raise SegkitError(
            f"{key} (command line): '{text}': {detail}; a text may need quotes", key=key, value=text
        ) from None


def _normal(key: str) -> str:
    """Writes ``hooks[0].period`` as ``hooks.0.period``."""
    return key.replace("[", ".").replace("]", "")
