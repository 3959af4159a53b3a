"""``segkit dataset convert``: writes a data set in another format."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.dataset.arguments import (
    WRITER_OPTIONS,
    add_skip_unreadable,
    add_source,
    add_writable,
    read_values,
    take_assignments,
)
from segkit.cli.parser import Parser

EXAMPLES = """
segkit dataset convert my_data --to coco --output my_coco
segkit dataset convert my_data --to coco --output my_coco segmentation=polygon
segkit dataset convert my_data --to yolo --output my_yolo --split val --link
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit dataset convert``."""
    parser = Parser(
        "Write a data set in another format, with all its splits. The original is not changed; what the other format "
        "cannot hold is counted.",
        EXAMPLES,
        prog,
    )
    add_source(parser)
    add = parser.add_argument
    add("options", nargs="*", metavar="KEY=VALUE", help=f"{WRITER_OPTIONS}, as segmentation=polygon for coco")
    add_writable(parser, "the format to write", required=True)
    add("--output", required=True, metavar="DIR", help="a new or empty folder")
    add(
        "--split", action="append", default=[], metavar="NAME", help="write this split only; may be given several times"
    )
    add_skip_unreadable(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--copy", action="store_true", help="copy the images, byte for byte if the format allows (default)"
    )
    how.add_argument("--link", action="store_true", help="make symbolic links to the images")
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    options.options = take_assignments(options.options, parser)
    return options


def main(options: argparse.Namespace) -> None:
    """Converts, and prints what was written."""
    from segkit.dataset_tools.convert import convert, describe

    written = convert(
        options.data,
        options.to,
        options.output,
        format=options.format,
        splits=options.split,
        link=options.link,
        options=read_values(options.options),
        skip_unreadable=options.skip_unreadable,
    )
    print(describe(written))
