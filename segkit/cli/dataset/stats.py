"""``segkit dataset stats``: statistics of a data set, and the config lines that follow."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.dataset.arguments import add_source
from segkit.cli.parser import Parser

EXAMPLES = """
segkit dataset stats my_data
segkit dataset stats my_data --json stats.json --plots plots
segkit dataset stats instances.json --max-images 500
"""
MAX_IMAGES = 2000


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit dataset stats``; imports no torch."""
    parser = Parser(
        "Measure a data set: sizes, areas, objects an image, aspect ratios, overlaps, classes, intensities by channel; and "
        "print the lines of a configuration that follow from them, each with its reason.",
        EXAMPLES,
        prog,
    )
    add_source(parser)
    add = parser.add_argument
    add("--json", metavar="FILE", help="also write all results to this file")
    add("--plots", metavar="DIR", help="also write plots to this folder, as PNG and SVG")
    add(
        "--max-images",
        type=int,
        default=MAX_IMAGES,
        metavar="N",
        help=f"measure the objects of a random sample of N images at most (default: {MAX_IMAGES})",
    )
    add("--seed", type=int, default=0, metavar="S", help="seed of the sample (default: 0)")
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    if options.max_images < 1:
        parser.error(f"--max-images: expected at least 1, not {options.max_images}")
    if options.seed < 0:
        parser.error(f"--seed: expected 0 or more, not {options.seed}")
    return options


def main(options: argparse.Namespace) -> None:
    """Measures the data and prints the tables."""
    import json

    from segkit.dataset_tools.stats.run import report
    from segkit.utils.atomic import atomic_write
    from segkit.utils.errors import SegkitError
    from segkit.utils.paths import output_file, prepare_folder

    if options.json is not None:
        prepare_folder(output_file(options.json, "--json").parent, "--json")  # before the work
    text, content = report(
        options.data, format=options.format, max_images=options.max_images, seed=options.seed, plots=options.plots
    )
    print(text)
    if options.json is not None:
        try:
            with atomic_write(options.json) as temporary:
                temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise SegkitError(f"--json {options.json}: {error.strerror or error}", value=options.json) from error
