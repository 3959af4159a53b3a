"""``segkit dataset show``: writes a data set as one HTML page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.dataset.arguments import add_source
from segkit.cli.parser import Parser

EXAMPLES = """
segkit dataset show my_data --output my_data.html
segkit dataset show my_data --output crowded.html --sort objects --limit 50
segkit dataset show my_data --output faults.html --check faults.json
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit dataset show``."""
    parser = Parser(
        "Write one HTML file with images and their objects, which any browser shows without a network: classes to filter, "
        "crowds and ignored regions hatched, faults under their images.",
        EXAMPLES,
        prog,
    )
    add_source(parser)
    add = parser.add_argument
    add("--output", metavar="FILE", help="the HTML file to write (default: DATA.html in the current folder)")
    add("--limit", type=int, default=200, metavar="N", help="largest number of images (default: 200)")
    sorts = ("check", "objects", "name")
    add(
        "--sort", choices=sorts, help="worst faults first, most objects first, or by name (default: check with --check)"
    )
    add("--check", metavar="FILE", help="faults to show, as written by segkit dataset check --json")
    add(
        "--side",
        type=int,
        default=640,
        metavar="N",
        help="longer side of an image on the page in pixels (default: 640)",
    )
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    for name, least in (("limit", 1), ("side", 16)):
        if getattr(options, name) < least:
            parser.error(f"--{name} is {least} or more, given {getattr(options, name)}")
    return options


def main(options: argparse.Namespace) -> None:
    """Writes the page, and prints its path."""
    from segkit.dataset_tools.gallery.show import show

    keys = ("format", "limit", "sort", "check", "side")
    print(show(options.data, options.output, **{key: getattr(options, key) for key in keys}))
