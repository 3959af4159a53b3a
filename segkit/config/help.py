"""What the keys of a configuration mean."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Help:
    """What a key means, for ``tools/describe_config.py --help-keys``."""

    text: str
