"""``segkit dataset split``: divides a data set into training, validation and test images."""

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
segkit dataset split my_data --output my_splits
segkit dataset split my_data --output my_splits --fractions train=0.8 val=0.1 test=0.1 --group '(patient\\d+)_'
segkit dataset split my_data --output my_coco --to coco --link
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit dataset split``."""
    parser = Parser(
        "Divide a data set, each class and object size in proportion. Images that are copies of each other stay together. "
        "Writes lists of image names, which train as they are; with --to, the images and annotations themselves.",
        EXAMPLES,
        prog,
    )
    add_source(parser)
    add = parser.add_argument
    add("options", nargs="*", metavar="KEY=VALUE", help=f"with --to: {WRITER_OPTIONS}")
    add("--output", required=True, metavar="DIR", help="a new or empty folder")
    default = ["train=0.8", "val=0.2"]
    add(
        "--fractions",
        nargs="+",
        default=default,
        metavar="S=F",
        help="share of each split (default: train=0.8 val=0.2)",
    )
    text = "images in whose names this pattern finds the same text stay together, as '(patient\\d+)_'"
    add("--group", metavar="REGEX", help=text)
    add("--seed", type=int, default=42, metavar="N", help="another seed divides differently (default: 42)")
    add(
        "--by",
        default="class,size",
        metavar="WHAT",
        help="what to divide in proportion: class, size (default: class,size)",
    )
    add("--split", metavar="NAME", help="the split to divide, if the data have several")
    add_skip_unreadable(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--lists", action="store_true", help="write lists of names and no images (default)")
    add_writable(how, "write images and annotations in this format")
    add("--link", action="store_true", help="with --to: make symbolic links to the images")
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    options.options = take_assignments(options.options, parser)
    if options.to is None and (options.link or options.options):
        parser.error("--link and options of a format need --to")
    fractions = {}
    for word in options.fractions:
        name, _, share = word.partition("=")
        if name in fractions:
            parser.error(f"--fractions: '{name}' is given twice")
        try:
            fractions[name] = float(share)
        except ValueError:
            parser.error(f"--fractions: '{word}' is not SPLIT=SHARE, as train=0.8")
        if not name or not name.replace("_", "").replace("-", "").isalnum():
            parser.error(f"--fractions: '{name}' is not a name of letters, digits, _ and -")
    options.fractions = fractions
    return options


def main(options: argparse.Namespace) -> None:
    """Divides, and prints the balance of the splits."""
    from segkit.dataset_tools.splitting.split import describe, split_data

    result = split_data(
        options.data,
        options.output,
        options.fractions,
        format=options.format,
        only=options.split,
        group=options.group,
        seed=options.seed,
        by=options.by.split(","),
        to=options.to,
        link=options.link,
        skip_unreadable=options.skip_unreadable,
        options=read_values(options.options),
    )
    print(describe(result))
