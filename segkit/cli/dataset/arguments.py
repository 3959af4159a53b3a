"""Arguments that the subcommands of ``segkit dataset`` share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

from segkit.cli.parser import Parser


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a data set."""
    parser.add_argument("data", metavar="DATA", help="folder or file of a data set, of any format")
    parser.add_argument("--format", metavar="F", help="format of the data (default: recognised by content)")


def add_skip_unreadable(parser: argparse.ArgumentParser) -> None:
    """Adds the switch that skips and counts images that cannot be read."""
    text = "skip images that cannot be read, and say which (default: the first one is an error)"
    parser.add_argument("--skip-unreadable", action="store_true", help=text)


def take_assignments(words: Sequence[str], parser: Parser) -> dict[str, str]:
    """The values of words ``KEY=VALUE``, as text; exits with status 2 if a word is none."""
    for word in words:
        if not re.fullmatch(r"[A-Za-z_]\w*=.*", word, re.DOTALL):
            parser.error(f"unexpected argument '{word}'; options of the format are KEY=VALUE")
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def read_values(assignments: Mapping[str, str]) -> dict[str, Any]:
    """The values of ``take_assignments``, read as YAML.

    Raises:
        SegkitError: a value is no YAML.
    """
    from segkit.config.yaml_reader import read_yaml

    return {key: read_yaml(text, f"{key}={text}", lines=False).plain() for key, text in assignments.items()}
