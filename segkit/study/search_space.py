"""The search space of a study file: choices and ranges by key path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from segkit.config.help import Help
from segkit.config.nodes import Node, join, where
from segkit.config.specs import Resolver
from segkit.config.typecheck import show
from segkit.study.study_file import StudyDescription
from segkit.utils.errors import SegkitError

SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers between two ends, both included."""

    low: Annotated[float, Help("the lower end")]
    high: Annotated[float, Help("the upper end")]
    log: Annotated[bool, Help("whether the logarithm is drawn uniformly")] = False
    step: Annotated[float | None, Help("between two values; null: any value")] = None


@dataclass(frozen=True)
class Dimension:
    """One key of the space.

    Attributes:
        key: key path in the configuration.
        choices: plain values; None for a range.
        range: None for choices.
        whole: whether the range has whole numbers only.
    """

    key: str
    choices: tuple[Any, ...] | None = None
    range: Range | None = None
    whole: bool = False

    def suggest(self, trial: Any) -> Any:
        """Returns the trial's value, which Optuna chooses at the first call and keeps."""
        if self.choices is not None:
            # Optuna stores scalars; lists and mappings go by their JSON.
            plain = all(isinstance(choice, SCALARS) for choice in self.choices)
            names = list(self.choices) if plain else [json.dumps(choice, sort_keys=True) for choice in self.choices]
            chosen = trial.suggest_categorical(self.key, names)
            return chosen if plain else self.choices[names.index(chosen)]
        assert self.range is not None
        low, high, step = self.range.low, self.range.high, self.range.step
        if self.whole:
            return trial.suggest_int(self.key, int(low), int(high), step=int(step or 1), log=self.range.log)
        return trial.suggest_float(self.key, low, high, step=step, log=self.range.log)

    def examples(self) -> list[Any]:
        """Values to check configurations with: all choices, or both ends."""
        if self.choices is not None:
            return list(self.choices)
        assert self.range is not None
        ends = [self.range.low, self.range.high]
        return [int(end) for end in ends] if self.whole else ends


def search_space(study: StudyDescription) -> list[Dimension]:
    """Reads ``search.space``.

    Raises:
        SegkitError: an empty space, a range whose ends are exchanged, a logarithmic range from 0, an unknown key.
    """
    nodes = study.nodes("search", "space")
    if not nodes:
        raise SegkitError(f"{study.label}: search.space: expected choices or ranges by key path", key="search.space")
    return [_dimension(key, node, join("search.space", key)) for key, node in nodes.items()]


def _dimension(key: str, node: Node, path: str) -> Dimension:
    origin = where(path, node.origin)
    if isinstance(node.value, list):
        choices = tuple(node.plain())
        if not choices or len({json.dumps(choice, sort_keys=True) for choice in choices}) != len(choices):
            raise SegkitError(f"{origin}: expected different choices, given {show(list(choices))}", key=path)
        return Dimension(key, choices=choices)
    if not isinstance(node.value, Mapping):
        raise SegkitError(
            f"{origin}: expected a list of choices or a range {{low: 1e-4, high: 1e-2, log: true}}, given "
            f"{show(node.plain())}",
            key=path,
        )
    found = Resolver(Range, node).section(Range, node, path)
    given = [node.value[name].value for name in ("low", "high", "step") if name in node.value]
    whole = all(type(value) is int for value in given if value is not None)
    if not found.low < found.high:
        raise SegkitError(f"{origin}: low must be below high, given {found.low:g} and {found.high:g}", key=path)
    if found.log and found.low <= 0:
        raise SegkitError(f"{origin}: a logarithmic range starts above 0, given {found.low:g}", key=path)
    if found.step is not None and (found.log or not found.step > 0):
        raise SegkitError(f"{origin}: step must be above 0, and a logarithmic range has none", key=path)
    return Dimension(key, range=found, whole=whole)
