"""The config reference: a table for each typed section, read from the schema."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from generators.markdown import braces_as_code, cell, code, plain_roles, table
from segkit.config.describe import inline
from segkit.config.help import Help
from segkit.config.schema import Config
from segkit.config.specs import section_fields, section_of
from segkit.config.typecheck import accepts_none, type_text
from segkit.registry import SlotList, find_slot

HEAD = ("key", "type", "default", "meaning")


def config_keys() -> str:
    """All keys: those at the top, then a heading and a table for each section."""
    return "\n\n".join(_section(Config, ""))


def _section(section: type, path: str) -> Iterator[str]:
    rows, inner = [], []
    for key, (field, annotation) in section_fields(section).items():
        here = f"{path}.{key}" if path else key
        rows.append((code(here), _type(annotation), code(_default(field, annotation)), _help(annotation)))
        if (child := section_of(annotation)) is not None:
            inner.append((child, here))
    yield f"## {code(path) or 'Top level'}"
    yield braces_as_code(plain_roles((section.__doc__ or "").strip()))
    yield table(HEAD, rows)
    for child, here in inner:
        yield from _section(child, here)


def _extras(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__metadata__", ())


def _is_section(annotation: Any) -> bool:
    return typing.get_args(annotation)[0] is section_of(annotation)


def _type(annotation: Any) -> str:
    if _is_section(annotation):
        return "a section"
    slot = find_slot(annotation)
    if slot is None:
        return cell(type_text(annotation))
    name = slot.registry.title.replace("_", " ")
    text = f"a list of specs ({name})" if isinstance(slot, SlotList) else f"a spec ({name})"
    if (inner := section_of(annotation)) is not None:
        text += f" or {{{', '.join(f'{key}: ...' for key in section_fields(inner))}}}"
    return cell(f"{text} or null" if accepts_none(annotation) else text)


def _help(annotation: Any) -> str:
    return cell(plain_roles(next(extra.text for extra in _extras(annotation) if isinstance(extra, Help))))


def _default(field: dataclasses.Field[Any], annotation: Any) -> str:
    if _is_section(annotation):
        return ""
    if field.default is not dataclasses.MISSING:
        return inline(field.default)
    return inline(field.default_factory()) if field.default_factory is not dataclasses.MISSING else "(required)"
