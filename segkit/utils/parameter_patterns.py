"""Shell patterns over dotted names, as those of a model's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from segkit.utils.errors import SegkitError, nearest


def matching_names(pattern: str, names: Sequence[str], key: str) -> list[str]:
    """The names that ``pattern`` matches; also all inside of what it names: ``features.0`` means ``features.0.*`` too.

    Args:
        key: the configuration's key, for the message.
    Raises:
        SegkitError: there is none; it says what is near.
    """
    found = [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
    if not found:
        raise SegkitError(_no_match(pattern, names, key), key=key, value=pattern, choices=names)
    return found


def _no_match(pattern: str, names: Sequence[str], key: str) -> str:
    parts = {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 1)}
    near = nearest(pattern.rstrip("*."), parts)
    if not near:
        tops = sorted({".".join(name.split(".")[:2]) for name in names})
        return f"{key}: no parameter matches '{pattern}'; parts: {', '.join(tops[:12])}"
    return f"{key}: no parameter matches '{pattern}'; did you mean {' or '.join(repr(f'{part}.*') for part in near)}?"
