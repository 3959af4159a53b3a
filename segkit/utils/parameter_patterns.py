"""Matches shell patterns against the dotted names of a model's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from segkit.utils.errors import SegkitError, nearest


def matching_names(pattern: str, names: Sequence[str], key: str) -> list[str]:
    """The names that a pattern matches, or that are below a module that it matches.

    For example, ``features.0`` matches ``features.0.*`` too.

    Args:
        key: the configuration key of the pattern, for the message.
    Raises:
        SegkitError: no name matches; the message suggests similar ones.
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
        return f"{key}: no parameter matches '{pattern}'; the model has {', '.join(tops[:12])}"
    return f"{key}: no parameter matches '{pattern}'; did you mean {' or '.join(repr(f'{part}.*') for part in near)}?"
