"""Spec: a component's name and arguments, checked and complete."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from segkit.utils.errors import did_you_mean


class Spec(Mapping[str, Any]):
    """An immutable mapping ``{name: X, argument: value, ...}``; ``spec.lr`` is ``spec["lr"]``.

    ``spec["keys"]`` reads an argument that is called like a method of Mapping. Lists and dicts are returned as copies,
    which a component may change.
    """

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def __init__(self, values: Mapping[str, Any] | None = None, /, **arguments: Any) -> None:
        object.__setattr__(self, "_values", {**(values or {}), **arguments})

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        return copy.deepcopy(value) if isinstance(value, (list, dict)) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__") or key not in self._values:
            name = self._values.get("name", self._values.get("format", "spec"))
            raise AttributeError(f"{name} has no argument '{key}'{did_you_mean(key, self._values)}")
        return self[key]

    def __setattr__(self, key: str, value: Any) -> None:
        raise AttributeError(f"a configuration cannot be changed; use cfg.with_overrides(['...{key}={value}'])")

    def __delattr__(self, key: str) -> None:
        raise AttributeError("a configuration cannot be changed")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._values})

    def __hash__(self) -> int:
        return hash(repr(sorted(to_plain(self).items(), key=lambda item: item[0])))

    def __repr__(self) -> str:
        return f"Spec({self._values!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Spec, (self._values,)


def to_plain(value: Any) -> Any:
    """Converts a configuration's value to plain ones: dict, list, str, int, float, bool, None."""
    if isinstance(value, Mapping):
        return {key: to_plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(child) for child in value]
    return value.to_plain() if hasattr(value, "to_plain") else value


def is_plain(value: Any) -> bool:
    """Whether a value can be written into a YAML file."""
    if isinstance(value, Mapping):
        return all(isinstance(key, (str, int)) and is_plain(child) for key, child in value.items())
    if isinstance(value, (list, tuple)):
        return all(is_plain(child) for child in value)
    return value is None or isinstance(value, (bool, int, float, str)) or hasattr(value, "to_plain")
