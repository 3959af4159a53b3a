"""The one error class for a user's mistake, the suggestions in its messages, and the end by a signal."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Sequence
from typing import Any


class SegkitError(ValueError):
    """A mistake that the user can correct: a key, a file, an annotation, a checkpoint, an argument.

    The tools print its message alone, without a traceback, and exit with status 1; programs that use segkit as a
    library catch it as a ``ValueError``.

    Args:
        message: what was wrong, where, what was expected.
        key: the configuration key or argument concerned, if there is one.
        value: what was given.
        choices: what would have been valid.
    """

    def __init__(self, message: str, *, key: str | None = None, value: object = None, choices: Iterable[str] = ()):
        super().__init__(message)
        self.key = key
        self.value = value
        self.choices = tuple(choices)

    def __reduce__(self) -> tuple[Any, ...]:
        # Not by the constructor, whose arguments a subclass may have changed.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(cls: type[SegkitError], args: tuple[Any, ...], state: dict[str, Any]) -> SegkitError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class PeerLost(SegkitError):
    """Another process of a run of several has ended, and says why."""


class RunInterrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM ended a run in between two of its steps, where it saves itself: it can be resumed.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    def __reduce__(self) -> tuple[type[RunInterrupted], tuple[int]]:
        return type(self), (self.number,)


def nearest(word: str, choices: Iterable[str], count: int = 3) -> list[str]:
    """The choices most like ``word``, best first, ignoring case; empty where nothing is near."""
    by_lower = {choice.lower(): choice for choice in sorted(choices)}
    return [by_lower[match] for match in difflib.get_close_matches(str(word).lower(), by_lower, n=count, cutoff=0.6)]


def first_few(names: Sequence[str], count: int = 5) -> str:
    """The first names of a list for a message: ``a, b, ...``."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def did_you_mean(word: str, choices: Iterable[str], limit: int = 20) -> str:
    """The end of an error message: the nearest choices, else all of them, else nothing.

    >>> did_you_mean("widht", ["width", "depth"])
    "; did you mean 'width'?"
    """
    choices = sorted(choices)
    near = nearest(word, choices)
    if near:
        return "; did you mean " + " or ".join(f"'{choice}'" for choice in near) + "?"
    if not choices:
        return ""
    more = f" and {len(choices) - limit} more" if len(choices) > limit else ""
    return "; valid: " + ", ".join(choices[:limit]) + more
