"""Class names: checks, and default category ids."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from segkit.utils.errors import SegkitError

UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, lone surrogates, line and paragraph separators
INVISIBLE = "\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # byte order mark, direction marks


def category_of_name(name: str) -> int | None:
    """The category id K of a name ``classK``, the default name of a class; None for other names."""
    match = re.fullmatch(r"class(\d+)", name)
    return int(match.group(1)) if match else None


def default_category_ids(classes: Sequence[str]) -> list[int]:
    """Category ids of classes without ids: K if all names are ``classK``, else 1, 2, ..."""
    ids = [category_of_name(name) for name in classes]
    if classes and None not in ids and len(set(ids)) == len(ids):
        return [k for k in ids if k is not None]
    return list(range(1, len(classes) + 1))


def check_classes(classes: Sequence[str], category_ids: Sequence[int] | None, source: str = "classes") -> None:
    """Checks the class names of a data set and their category ids.

    A name is text on one line, because tables, pictures, file formats and logs show it. Spaces at its ends are kept, and
    :meth:`segkit.data.Dataset.summary` mentions them.

    Args:
        classes: names in the order of the labels.
        category_ids: the id of each; None: not checked.
        source: where the names come from, for the message.
    Raises:
        SegkitError: a name is empty, not text, or has control characters; two names are equal, or differ only in spaces
            or Unicode form; the number of ids differs from the number of names, or an id repeats.
    """
    for label, name in enumerate(classes):
        if problem := name_problem(name):
            raise SegkitError(f"{source}: the name of class {label}, {name!r}, {problem}", key="classes", value=name)
    if pair := first_duplicate(classes):
        first, second = (classes[i] for i in pair)
        if first == second:
            raise SegkitError(f"{source}: {first} occurs more than once", key="classes", value=list(classes))
        form = unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", second)
        difference = "their Unicode form" if form else "spaces"
        raise SegkitError(
            f"{source}: the names {first!r} and {second!r} differ only in {difference}", key="classes", value=second
        )
    if category_ids is not None and (len(category_ids) != len(classes) or len(set(category_ids)) != len(classes)):
        raise SegkitError(
            f"category_ids: {len(classes)} different ids are expected, one a class; got {list(category_ids)}",
            key="category_ids",
            value=list(category_ids),
        )


def first_duplicate(names: Sequence[str]) -> tuple[int, int] | None:
    """Indices of the first two names that are equal or differ only in spaces or Unicode form.

    Returns None if all differ.
    """
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        first = seen.setdefault(" ".join(unicodedata.normalize("NFC", name).split()), index)
        if first != index:
            return first, index
    return None


def names_differing_in_case(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ only in upper and lower case: two classes, or a misspelt one."""
    seen: dict[str, str] = {}
    pairs = [(seen.setdefault(name.casefold(), name), name) for name in names]
    return [(first, second) for first, second in pairs if first != second]


def name_problem(name: object) -> str | None:
    """What is wrong with a class name, with a corrected name; the predicate of a message.

    Returns None for a valid name.
    """
    if not isinstance(name, str):
        return "is not text; put it in quotes"
    if not name.strip():
        return "is empty"
    bad = next((c for c in name if unicodedata.category(c) in UNPRINTABLE or c in INVISIBLE), None)
    if bad is None:
        return None
    kind = "a line break" if bad in "\n\r\v\f\x85\u2028\u2029" else f"the invisible character U+{ord(bad):04X}"
    corrected = "".join(" " if c == bad or unicodedata.category(c) in UNPRINTABLE else c for c in name)
    corrected = " ".join(corrected.split())
    return f"has {kind}{f'; did you mean {corrected!r}?' if corrected else ''}"
