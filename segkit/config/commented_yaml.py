"""Writes a configuration as YAML with a comment above each key that has one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from segkit.config.yaml_reader import Writer, write_yaml

WIDTH = 118  # of a line, as in segkit's own configurations
INDENT = 2
LINE_ENDS = ("\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")


def write_commented_yaml(tree: Mapping[str, Any], comments: Mapping[str, str], head: str = "") -> str:
    """Returns YAML of plain values, with comments.

    Mappings and lists are written on one line if they fit and no key inside them has a comment.

    Args:
        tree: plain values.
        comments: text by the path of a key, as ``train.iterations`` or ``data.train_transforms.0``.
        head: text of the comment at the beginning of the file.
    """
    lines = [*_comment(head, 0), *_mapping(tree, comments, "", 0)]
    return "\n".join(lines) + "\n"


def _mapping(tree: Mapping[str, Any], comments: Mapping[str, str], path: str, depth: int) -> Iterator[str]:
    for key, value in tree.items():
        below = f"{path}{key}"
        yield from _comment(comments.get(below, ""), depth)
        yield from _value(f"{_scalar(key)}:", value, comments, below, depth)


def _value(label: str, value: Any, comments: Mapping[str, str], path: str, depth: int) -> Iterator[str]:
    """The lines of a value behind its key, or behind the ``-`` of a list."""
    pad = " " * depth
    one_line = _on_one_line(value)
    inside = any(key.startswith(f"{path}.") for key in comments)
    collection = isinstance(value, (Mapping, list)) and len(value) > 0
    if not collection or (not inside and len(pad) + len(label) + 1 + len(one_line) <= WIDTH):
        yield f"{pad}{label} {one_line}"
    elif isinstance(value, Mapping):
        below = list(_mapping(value, comments, f"{path}.", depth + INDENT))
        if label == "-" and not below[0].lstrip().startswith("#"):  # the first key stands behind the dash
            below[0] = f"{pad}- {below[0].strip()}"
        else:
            yield f"{pad}{label}"
        yield from below
    else:
        yield f"{pad}{label}"
        for index, item in enumerate(value):
            yield from _comment(comments.get(f"{path}.{index}", ""), depth + INDENT)
            yield from _value("-", item, comments, f"{path}.{index}", depth + INDENT)


def _on_one_line(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_scalar(key)}: {_on_one_line(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_on_one_line(inner) for inner in value)}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """A scalar as it may stand inside of brackets; texts of several lines with escapes."""
    if isinstance(value, str) and any(end in value for end in LINE_ENDS):
        return yaml.dump(value, Dumper=Writer, default_style='"', width=1e9, allow_unicode=True).strip()
    return write_yaml([value], one_line=True).strip()[1:-1]


def _comment(text: str, depth: int) -> Iterator[str]:
    pad = f"{' ' * depth}# "
    for line in text.splitlines():
        yield from textwrap.wrap(line, WIDTH, initial_indent=pad, subsequent_indent=pad) or ["#"]
