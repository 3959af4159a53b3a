"""``segkit dataset label-errors``: annotations that are probably wrong, by trained models."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.parser import Parser

KINDS = (  # names for the help, which imports no numpy; a test compares them
    "missing_annotation", "never_found", "other_class", "badly_drawn", "annotated_as_one", "annotated_as_several", "duplicate",
    "high_loss",
)  # fmt: skip
EXAMPLES = """
segkit dataset label-errors output/cells
segkit dataset label-errors output/cells --split train --output wrong_labels
segkit dataset label-errors output/seed_1 output/seed_2 --top 50
segkit dataset label-errors results.json --data my_data/val
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser; imports no torch, so that ``--help`` answers at once."""
    parser = Parser(
        "Rank the annotations that are probably wrong: confident detections without an annotation, annotations that no "
        "detection finds, other classes, outlines that do not fit, and objects whose loss stays high over the checkpoints. "
        "Writes the list, crops, a page, and the images with marked annotations for QuPath, LabelMe and segkit.",
        EXAMPLES,
        prog,
    )
    add = parser.add_argument
    add(
        "sources",
        nargs="+",
        metavar="RUN",
        help="folder of a run, several runs on the same data, or a COCO results file",
    )
    add("--output", metavar="DIR", default="label_errors", help="a new folder for the files (default: label_errors)")
    add("--split", metavar="NAME", default="val", help="train or val of the run, or a split of --data (default: val)")
    add("--data", metavar="DATA", help="annotations of a results file: folder or file of any format")
    add("--format", metavar="F", help="format of --data (default: recognised by content)")
    add(
        "--weights",
        nargs="+",
        default=[],
        metavar="FILE",
        help="checkpoints of the run: the last one predicts, all measure losses (default: the best one, and all kept)",
    )
    add("--no-losses", action="store_true", help="use the detections alone, which needs no checkpoints")
    add("--top", type=int, default=200, metavar="N", help="largest number of errors listed (default: 200)")
    add("--kind", nargs="+", default=[], metavar="K", help=f"list only these kinds: {', '.join(KINDS)}")
    add("--min-score", type=float, default=0.1, metavar="S", help="skip errors of a lower score (default: 0.1)")
    add("--device", metavar="D", help="where the model runs (default: that of the run)")
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    if options.top < 1:
        parser.error(f"--top is 1 or more, given {options.top}")
    if not 0 <= options.min_score <= 1:
        parser.error(f"--min-score is in 0..1, given {options.min_score}")
    return options


def main(options: argparse.Namespace) -> None:
    """Writes the files, and prints what is in them."""
    from segkit.dataset_tools.label_errors import label_errors

    keys = ("data", "format", "split", "weights", "top", "min_score", "device")
    settings = {key: getattr(options, key) for key in keys}
    settings |= {"losses": not options.no_losses, "kinds": options.kind}
    print(label_errors(options.sources, options.output, **settings).text())
