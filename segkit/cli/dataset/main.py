"""``segkit dataset``: picks the subcommand and runs it."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from segkit.cli.parser import choose

# A subcommand is a module with `parse_arguments(words, prog)` and `main(options)`, which returns None or the exit status.
MODULES = {
    "check": "segkit.cli.dataset.check",
    "convert": "segkit.cli.dataset.convert",
    "stats": "segkit.cli.dataset.stats",
    "show": "segkit.cli.dataset.show",
    "split": "segkit.cli.dataset.split",
    "tile": "segkit.cli.dataset.tile",
    "label-errors": "segkit.cli.dataset.label_errors",
}
COMMANDS = {
    "check": "find every fault of a data set, and mend what can be mended",
    "convert": "write a data set in another format",
    "stats": "sizes, areas, objects an image, intensities, and the config lines that follow",
    "show": "one HTML page with all images and their objects",
    "split": "divide into training, validation and test images",
    "tile": "cut large images into a data set of tiles",
    "label-errors": "rank the annotations that are probably wrong, by a trained model",
}
EXAMPLES = """
segkit dataset check my_data
segkit dataset show my_data
segkit dataset split my_data --output my_splits
"""
OTHER_NAMES = {
    "validate": "check", "lint": "check", "doctor": "check", "fix": "check", "export": "convert", "info": "stats",
    "analyze": "stats", "statistics": "stats", "view": "show", "browse": "show", "visualize": "show", "slice": "tile",
    "labels": "label-errors", "mislabeled": "label-errors", "issues": "label-errors",
}  # fmt: skip


def parse_arguments(arguments: Sequence[str], prog: str = "segkit dataset") -> argparse.Namespace:
    """The subcommand, as ``command``, and its arguments; imports no torch."""
    name, rest = choose(
        COMMANDS,
        arguments,
        prog=prog,
        description="Check, convert, measure, show, split and tile data sets of any format, and find wrong annotations.",
        examples=EXAMPLES,
        other_names=OTHER_NAMES,
    )
    options: argparse.Namespace = importlib.import_module(MODULES[name]).parse_arguments(rest, f"{prog} {name}")
    options.command = name
    return options


def main(options: argparse.Namespace) -> object:
    """Runs the subcommand; returns its exit status, None for 0."""
    status: object = importlib.import_module(MODULES[options.command]).main(options)
    return status
