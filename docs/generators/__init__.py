"""What the pages of the site take from the code: tables of keys, components, names, examples, the commands' help."""

from __future__ import annotations

import re
from collections.abc import Callable

from generators.api import public_names
from generators.changelog import changelog
from generators.commands import command_help
from generators.components import components
from generators.config_keys import config_keys
from generators.examples import examples
from generators.migration import migration_table

GENERATORS: dict[str, Callable[..., str]] = {
    "api": public_names,
    "changelog": changelog,
    "components": components,
    "config_keys": config_keys,
    "examples": examples,
    "help": command_help,
    "migration": migration_table,
}
MARKER = re.compile(r"^<!-- generated: (\w+)(.*?) -->$", flags=re.MULTILINE)


def fill_in(markdown: str, page: str) -> str:
    """A page's text with the result of a generator in the place of each marker.

    Raises:
        ValueError: a marker names no generator.
    """

    def text(found: re.Match[str]) -> str:
        name = found[1]
        if name not in GENERATORS:
            raise ValueError(f"{page}: no generator is called '{name}'; there are {', '.join(GENERATORS)}")
        return GENERATORS[name](*found[2].split())

    return MARKER.sub(text, markdown)
