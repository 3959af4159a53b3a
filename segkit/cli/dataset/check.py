"""``segkit dataset check``: every fault of a data set, and a mended copy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.dataset.arguments import add_source
from segkit.cli.parser import Parser

EXAMPLES = """
segkit dataset check my_data
segkit dataset check my_data/train.json --no-pixels --json faults.json
segkit dataset check my_data --fix my_data_mended
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser; imports no torch, so that ``--help`` answers at once."""
    parser = Parser(
        "Say what a folder or file of annotated images is, and list every fault by kind: with its count, its first "
        "places, and what to do. The exit status is 1 if there are errors.",
        EXAMPLES,
        prog,
    )
    add_source(parser)
    add = parser.add_argument
    add("--json", metavar="FILE", help="also write all faults to this file")
    add("--fix", metavar="OUT", help="write a mended copy to this new folder; the data stay as they are")
    add(
        "--merge-classes",
        action="store_true",
        help="in the copy, merge classes whose names differ only in case or spaces",
    )
    add(
        "--no-pixels", action="store_true", help="read only the headers of images: equal and damaged ones are not found"
    )
    add("--workers", type=int, metavar="N", help="processes (default: one a core, at most 8; 0: none)")
    add(
        "--stride",
        type=float,
        default=4,
        metavar="S",
        help="list objects smaller than S pixels, the model's finest stride (default: 4)",
    )
    add(
        "--detections",
        type=int,
        default=100,
        metavar="N",
        help="list images with more objects than the model's detections (default: 100)",
    )
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    if options.workers is not None and options.workers < 0:
        parser.error("--workers must be 0 or more")
    if not options.stride > 0:
        parser.error("--stride must be above 0")
    if options.detections < 1:
        parser.error("--detections must be 1 or more")
    if options.merge_classes and options.fix is None:
        parser.error("--merge-classes needs --fix OUT")
    return options


def main(options: argparse.Namespace) -> int:
    """Prints the report; returns 1 if there are errors."""
    from segkit.dataset_tools.check import check_dataset, report_text  # import torch, after the arguments were checked
    from segkit.utils.errors import SegkitError
    from segkit.utils.paths import output_file, prepare_folder

    if options.json is not None:
        prepare_folder(output_file(options.json, "--json").parent, "--json")  # before the work
    report = check_dataset(
        options.data,
        format=options.format,
        pixels=not options.no_pixels,
        workers=options.workers,
        stride=options.stride,
        detections=options.detections,
        fix=options.fix,
        merge_classes=options.merge_classes,
    )
    print(report_text(report))
    if options.json is not None:
        try:
            report.write_json(options.json)
        except OSError as error:
            raise SegkitError(f"--json {options.json}: {error.strerror or error}", value=options.json) from error
        print(f"all faults: {options.json}")
    return 0 if report.ok else 1
