"""Nodes: a configuration before it is checked, each value with its file and line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT = "default"
COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Node:
    """One value of the tree, with its origin.

    Attributes:
        value: a dict of Nodes, a list of Nodes, or a scalar. Never changed in place, because trees share nodes.
        origin: ``file.yaml:12``, ``command line`` or ``default``.
    """

    value: Any
    origin: str

    @staticmethod
    def of(value: Any, origin: str, origins: Mapping[str, str] | None = None, path: str = "") -> Node:
        """Wraps a plain value; ``origin`` is that of the parts whose key path is not in ``origins``."""
        origins = origins or {}
        here = origins.get(path, origin)
        if isinstance(value, Mapping):
            return Node({k: Node.of(v, origin, origins, join(path, k)) for k, v in value.items()}, here)
        if isinstance(value, (list, tuple)):
            return Node([Node.of(v, here, origins, join(path, i)) for i, v in enumerate(value)], here)
        return Node(value, here)

    def plain(self) -> Any:
        """Returns the value without origins."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def items(self) -> Iterator[tuple[Any, Node]]:
        """Yields keys and children of a mapping; nothing for other values."""
        return iter(self.value.items()) if isinstance(self.value, dict) else iter(())


def join(path: str, key: object) -> str:
    """Appends a key to a key path: ``model`` and ``neck`` become ``model.neck``."""
    return f"{path}.{key}" if path else str(key)


def where(path: str, origin: str) -> str:
    """The start of every message about a value: ``train.epochs (run.yaml:3)``."""
    return f"{path} ({origin})" if path else origin
