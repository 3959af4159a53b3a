"""Choices: keys of a configuration with their values and the reasons for them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A key of a configuration, its value, and the reason.

    Attributes:
        key: path, as ``model.backbone`` or ``data.train_transforms.0``.
        value: plain value; None with ``only_comment`` set is no value.
        reason: one or two sentences, the comment of the key.
        only_comment: the value belongs to another choice, which contains this key.
    """

    key: str
    value: Any
    reason: str
    only_comment: bool = False


class Choices:
    """An ordered collection of choices, each key once."""

    def __init__(self) -> None:
        self._choices: dict[str, Choice] = {}

    def add(self, key: str, value: Any, reason: str) -> None:
        """Sets a key; an earlier choice of the same key is replaced in its place."""
        self._choices[key] = Choice(key, value, reason)

    def add_list(self, key: str, items: list[tuple[Any, str]], reason: str) -> None:
        """Sets a key to a list whose items have reasons of their own."""
        self.add(key, [value for value, _ in items], reason)
        for index, (_, why) in enumerate(items):
            self._choices[f"{key}.{index}"] = Choice(f"{key}.{index}", None, why, only_comment=True)

    def __iter__(self) -> Iterator[Choice]:
        return iter(self._choices.values())

    def __getitem__(self, key: str) -> Any:
        """The value of a key."""
        return self._choices[key].value

    def only(self, keys: Collection[str]) -> Choices:
        """The choices of some keys, with the reasons of their items."""
        chosen = Choices()
        for choice in self:
            if choice.key in keys or (choice.only_comment and choice.key.rpartition(".")[0] in keys):
                chosen._choices[choice.key] = choice
        return chosen

    def tree(self) -> dict[str, Any]:
        """The values as nested mappings, as in a YAML file."""
        root: dict[str, Any] = {}
        for choice in self:
            if choice.only_comment:
                continue
            *parents, last = choice.key.split(".")
            node = root
            for name in parents:
                node = node.setdefault(name, {})
            node[last] = choice.value
        return root

    def comments(self) -> dict[str, str]:
        """The reasons by key."""
        return {choice.key: choice.reason for choice in self if choice.reason}


def leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Paths of all values of nested mappings; lists are values."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"
