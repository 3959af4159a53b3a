"""``Help``: the annotation that describes a key of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Help:
    """What a key means, for the list of keys and the JSON schema."""

    text: str


def help_text(annotation: Any) -> str:
    """The text of the ``Help`` in an annotation; empty without one."""
    extras = getattr(annotation, "__metadata__", ())
    return next((extra.text for extra in extras if isinstance(extra, Help)), "")
