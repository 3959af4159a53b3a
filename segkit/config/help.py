"""``Help``: the annotation that describes a key of the configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Help:
    """What a key means, for the list of keys and the JSON schema."""

    text: str
