"""Exceptions of segkit, and helpers for their messages."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class SegkitError(ValueError):
    """A mistake that the user can correct: a key, a file, an annotation, an argument.

    The tools print its message without a traceback and exit with status 1; programs that use segkit as a library catch
    it as a ``ValueError``.

    Args:
        message: what is wrong, where, and what was expected.
        key: the configuration key or argument, if there is one.
        value: the invalid value.
        choices: the valid values.
    """

    def __init__(self, message: str, *, key: str | None = None, value: object = None, choices: Iterable[str] = ()):
        super().__init__(message)
        self.key = key
        self.value = value
        self.choices = tuple(choices)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without __init__: a subclass may take other arguments.
        return _unpickle, (type(self), self.args, self.__dict__)


def _unpickle(cls: type[SegkitError], args: tuple[Any, ...], state: dict[str, Any]) -> SegkitError:
    """Recreates a pickled error without calling its constructor."""
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class UnreadableImage(SegkitError):
    """An image of a data set, or its annotation, cannot be read; such images may be skipped."""


@contextmanager
def image_errors() -> Iterator[None]:
    """Raises a SegkitError of its block, which reads an image, as :class:`UnreadableImage`."""
    try:
        yield
    except SegkitError as error:
        raise UnreadableImage(str(error), key=error.key, value=error.value) from error


class MissingPackage(SegkitError):
    """An optional package is not installed; the message has the command that installs it."""


class PeerLost(SegkitError):
    """Another process of a distributed run ended with an error, which the message holds."""


class RunInterrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM ended a run between two steps, with a checkpoint to resume from.

    Args:
        number: the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    def __reduce__(self) -> tuple[type[RunInterrupted], tuple[int]]:
        return type(self), (self.number,)


def nearest(word: str, choices: Iterable[str], count: int = 3) -> list[str]:
    """The choices most like ``word``, best first, ignoring case; empty if none is similar."""
    by_lower = {choice.lower(): choice for choice in sorted(choices)}
    return [by_lower[match] for match in difflib.get_close_matches(str(word).lower(), by_lower, n=count, cutoff=0.6)]


def counted(number: int, noun: str, plural: str = "s") -> str:
    """A number with its noun, for a message: ``1 image``, ``2,000 images``."""
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def first_few(names: Sequence[str], count: int = 5) -> str:
    """The first names of a list, for a message: ``a, b, ...``."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def did_you_mean(word: str, choices: Iterable[str], limit: int = 20) -> str:
    """The end of a message: the nearest choices, else the first ``limit`` choices.

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
