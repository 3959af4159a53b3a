"""Checks of plain values against type annotations of the schema and of constructors."""

from __future__ import annotations

import collections.abc
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, Union

from segkit.config.nodes import join, where
from segkit.utils.errors import SegkitError, did_you_mean, nearest

NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "null", Any: "anything"}
UNIONS = (Union, types.UnionType)
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
TUPLES = (tuple, collections.abc.Sequence, collections.abc.Collection, collections.abc.Iterable)
SEQUENCES = (*TUPLES, list, collections.abc.MutableSequence)


@dataclass(frozen=True)
class Bounds:
    """The range of a number: ``Annotated[int, Bounds(1)]``. Limits are included unless open."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether ``value`` is in the range; NaN never is."""
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        low = f"{'above' if self.open_low else 'at least'} {self.low:g}" if self.low > -math.inf else ""
        high = f"{'below' if self.open_high else 'at most'} {self.high:g}" if self.high < math.inf else ""
        return " and ".join(filter(None, (low, high)))


@dataclass(frozen=True)
class Checked:
    """Values that a function accepts: ``Annotated[str, Checked(check, "a norm")]``.

    Attributes:
        check: raises SegkitError or another ValueError for an invalid value.
        text: the type in words.
    """

    check: Callable[[Any], None]
    text: str


class Mismatch(Exception):
    """Raised for a value that does not have its type.

    Attributes:
        value: the value that does not fit, which may be inside the given one.
        path: its key path inside the given value.
        deep: whether the outer type fits, and a value inside (or the choice) does not.
        choices: valid values, for suggestions.
    """

    def __init__(
        self, text: str, value: Any, *, path: str = "", deep: bool = False, choices: Iterable[str] = ()
    ) -> None:
        super().__init__(text)
        self.value, self.path, self.deep, self.choices = value, path, deep, tuple(choices)


def coerce(value: Any, annotation: Any, path: str, origin: str) -> Any:
    """Converts a value to the annotated type, as an int to a float or a list to a tuple.

    Args:
        value: plain, as from YAML.
        annotation: int, float, bool, str, None, Any, unions, Literal, Sequence, tuple, list, Mapping, dict, Annotated
            with :class:`Bounds` or :class:`Checked`, a class with ``from_plain``, or any class for its instances.
        path: the key path, for the message.
        origin: where the value was written, for the message.
    Raises:
        SegkitError: the value does not fit; the message has path, origin, value and expected type.
    """
    try:
        return convert(value, annotation)
    except Mismatch as error:
        full = join(path, error.path) if error.path else path
        raise SegkitError(
            f"{where(full, origin)}: {error}", key=full, value=error.value, choices=error.choices
        ) from None


def convert(value: Any, annotation: Any) -> Any:
    """Does the work of :func:`coerce`; raises Mismatch."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if annotation is Any or annotation is inspect.Parameter.empty or isinstance(annotation, TypeVar):
        return value
    if origin is Annotated:
        checked = any(isinstance(extra, Checked) for extra in annotation.__metadata__)
        try:
            converted = convert(value, arguments[0])
        except Mismatch as error:
            raise (Mismatch(_expected(annotation, value), value) if checked and not error.deep else error) from None
        return _within(converted, annotation.__metadata__)
    if origin in UNIONS:
        return _union(value, annotation, arguments)
    if origin is Literal:
        return _literal(value, arguments)
    kind = origin or annotation
    if kind is None:
        kind = type(None)
    if kind in MAPPINGS:
        return _mapping(value, annotation, arguments)
    if kind in SEQUENCES:
        return _sequence(value, annotation, kind, arguments)
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:  # of more than 308 digits
            raise Mismatch(_expected(annotation, value), value) from None
    # A large round integer, as 2e8 parameters, is written as a float.
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    if hasattr(kind, "from_plain"):
        try:
            return kind.from_plain(value)
        except ValueError as error:
            raise Mismatch(f"{error}, given {show(value)}", value, deep=True) from None
    if not isinstance(kind, type):
        return value  # a NewType or the like, which the constructor checks
    if isinstance(value, kind) and not (kind in (int, float) and isinstance(value, bool)):
        return value
    if issubclass(kind, PurePath) and isinstance(value, str):
        return value  # the builder converts it to a path
    foreign = kind not in NAMES and typing.get_origin(annotation) is None
    hint = "; a configuration holds numbers, text, lists and mappings: annotate the parameter as one of these"
    raise Mismatch(_expected(annotation, value) + hint * foreign, value)


def accepts_none(annotation: Any) -> bool:
    """Whether the annotated type includes None."""
    if typing.get_origin(annotation) is Annotated:
        return accepts_none(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in UNIONS:
        return any(accepts_none(inner) for inner in typing.get_args(annotation))
    return annotation in (None, type(None), Any, inspect.Parameter.empty)


def type_text(annotation: Any) -> str:
    """Describes an annotation in words: ``an integer or null``, ``'fp32' or 'bf16'``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is inspect.Parameter.empty:
        return NAMES[Any]
    if origin is Annotated:
        if checked := next((extra for extra in annotation.__metadata__ if isinstance(extra, Checked)), None):
            return checked.text
        limits = [str(extra) for extra in annotation.__metadata__ if isinstance(extra, Bounds)]
        text, null, _ = type_text(arguments[0]).partition(" or null")
        return " ".join([text, *limits]) + null
    if origin in UNIONS:
        return " or ".join(type_text(inner) for inner in arguments)
    if origin is Literal:
        return " or ".join("null" if choice is None else repr(choice) for choice in arguments)
    kind = origin or annotation
    if kind in MAPPINGS:
        return f"a mapping to {type_text(arguments[1])}" if arguments and arguments[1] is not Any else "a mapping"
    if kind in SEQUENCES:
        if kind is tuple and arguments and arguments[-1] is not Ellipsis:
            return f"a list of {len(arguments)}: " + ", ".join(type_text(inner) for inner in arguments)
        return f"a list, each {type_text(arguments[0])}" if arguments else "a list"
    if hasattr(kind, "from_plain"):
        return f"a {kind.__name__.lower()}"
    return NAMES.get(type(None) if kind is None else kind) or str(getattr(kind, "__name__", kind))


def show(value: Any) -> str:
    """Describes a given value in a message, with its kind if it is text, a list or a mapping."""
    if isinstance(value, str):
        return f"the text '{value}'"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kind = "the mapping " if isinstance(value, Mapping) else "the list " if isinstance(value, (list, tuple)) else ""
    text = str(dict(value)) if isinstance(value, Mapping) else str(value)
    return kind + (text if len(text) <= 80 else text[:77] + "...")


def _expected(annotation: Any, value: Any) -> str:
    hint = ""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and annotation is str:
        hint = f" (write '{value}' in quotes)"
    return f"expected {type_text(annotation)}, given {show(value)}{hint}"


def _within(value: Any, extras: tuple[Any, ...]) -> Any:
    for extra in extras:
        if isinstance(extra, Bounds) and isinstance(value, (int, float)) and not extra.holds(value):
            raise Mismatch(f"must be {extra}, given {show(value)}", value, deep=True)
        if isinstance(extra, Checked):
            try:
                extra.check(value)
            except ValueError as error:
                raise Mismatch(str(error), value, deep=True, choices=getattr(error, "choices", ())) from None
    return value


def _union(value: Any, annotation: Any, members: tuple[Any, ...]) -> Any:
    if type(value) in members:  # 1 for `float | int` stays an int
        return value
    mismatches = []
    for member in members:
        try:
            return convert(value, member)
        except Mismatch as error:
            mismatches.append(error)
    deep = [error for error in mismatches if error.deep]
    raise deep[0] if deep else Mismatch(_expected(annotation, value), value)


def _literal(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    names = [choice for choice in choices if isinstance(choice, str)]
    if isinstance(value, str) and (len(names) == len(choices) or nearest(value, names)):
        text = f"'{value}' is not one of the choices{did_you_mean(value, names)}"
    else:
        text = f"expected {' or '.join('null' if c is None else repr(c) for c in choices)}, given {show(value)}"
    raise Mismatch(text, value, deep=isinstance(value, str) and bool(names), choices=names)


def _inside(value: Any, annotation: Any, key: object) -> Any:
    try:
        return convert(value, annotation)
    except Mismatch as error:
        raise Mismatch(str(error), error.value, path=join(str(key), error.path) if error.path else str(key), deep=True,
                       choices=error.choices) from None  # fmt: skip


def _mapping(value: Any, annotation: Any, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise Mismatch(_expected(annotation, value), value)
    key_type, value_type = arguments or (Any, Any)
    return {_inside(key, key_type, key): _inside(child, value_type, key) for key, child in value.items()}


def _sequence(value: Any, annotation: Any, kind: Any, arguments: tuple[Any, ...]) -> Any:
    if not isinstance(value, (list, tuple)):
        raise Mismatch(_expected(annotation, value), value)
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise Mismatch(_expected(annotation, value), value, deep=True)
        inner = list(arguments)
    else:
        inner = [arguments[0] if arguments else Any] * len(value)
    values = [_inside(child, inner[i], i) for i, child in enumerate(value)]
    return tuple(values) if kind in TUPLES else values
