"""The result of a suggestion: a configuration with comments, and its YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segkit.config.commented_yaml import write_commented_yaml
from segkit.config.loader import load_config_dict
from segkit.config.nodes import Node
from segkit.config.overrides import apply_overrides, parse_overrides
from segkit.config.schema import Config
from segkit.dataset_tools.stats.measure import DatasetStats
from segkit.dataset_tools.suggest.choices import Choices
from segkit.dataset_tools.suggest.draft import Draft, choose_all
from segkit.dataset_tools.suggest.facts import Facts
from segkit.dataset_tools.suggest.schedule import RunTimes
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError

LENGTH_KEYS = ("train.iterations", "train.epochs")


@dataclass(frozen=True)
class Suggestion:
    """A suggested configuration and what it follows from.

    Attributes:
        config: with a comment for each choice.
        yaml: the file that loads to an equal configuration: the choices alone, each with its reason.
        choices: key, value and reason of each, overrides included.
        stats: of the training data.
        reason: what the data were taken for.
        times: measured; None if no time was given.
    """

    config: Config
    yaml: str
    choices: list[tuple[str, Any, str]]
    stats: DatasetStats
    reason: str
    times: RunTimes | None


def build_config(choices: Choices, overrides: list[str]) -> tuple[Config, Mapping[str, Any]]:
    """The configuration of the choices with overrides, and its keys as plain values."""
    tree = apply_overrides(Node.of(choices.tree(), "suggestion"), overrides).plain()
    return load_config_dict(tree, "suggestion", overrides, saved=False), tree


def finish(facts: Facts, draft: Draft, overrides: list[str], times: RunTimes | None) -> Suggestion:
    choices = choose_all(facts, draft)
    cfg, tree = build_config(choices, overrides)
    given = [key for key, _ in parse_overrides(overrides)]
    comments = {
        key: reason for key, reason in choices.comments().items()
        if _exists(tree, key) and not any(_covers(name, key) for name in given)
    } | dict.fromkeys(given, "Set by the user.")  # fmt: skip
    listed = [(key, _value(tree, key), reason) for key, reason in comments.items()]
    return Suggestion(
        replace(cfg, comments=comments),
        write_commented_yaml(tree, comments, _head(facts)),
        listed,
        facts.stats,
        facts.source.reason,
        times,
    )


def _head(facts: Facts) -> str:
    return (
        f"Suggested by segkit for {facts.source.train.describe()} ({facts.source.reason}).\n"
        "It is an ordinary configuration: segkit train with this file does the run. Change what you know better."
    )


def _covers(given: str, key: str) -> bool:
    """Whether setting ``given`` makes the reason of ``key`` void."""
    alternative = given in LENGTH_KEYS and key in LENGTH_KEYS
    return alternative or key == given or key.startswith(f"{given}.")


def _exists(tree: Any, key: str) -> bool:
    try:
        _value(tree, key)
    except (KeyError, IndexError, TypeError, ValueError):
        return False
    return True


def _value(tree: Any, key: str) -> Any:
    """The value at a key path."""
    for name in key.split("."):
        tree = tree[int(name)] if isinstance(tree, list) else tree[name]
    return tree


def write_suggestion(suggestion: Suggestion, path: Path) -> None:
    """Writes the YAML file, and the folders that it needs."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(suggestion.yaml, encoding="utf-8")
    except OSError as error:
        raise SegkitError(f"'{path}' cannot be written: {error.strerror}", value=str(path)) from error
