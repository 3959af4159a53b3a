"""``segkit compare``: which of several evaluated runs is better, and by how much."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.parser import Parser, add_results_data, check_results_data

EXAMPLES = """
segkit compare output/mine output/larger
segkit compare output/mine output/larger --metric segm/AP --output comparison.md
segkit compare small=output/small_0,output/small_1 large=output/large_0,output/large_1
segkit compare mine.json theirs.json --data my_cells --split val
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit compare``; imports no torch."""
    parser = Parser(
        "Compare evaluated runs on the same images by a paired bootstrap: the difference of each metric with its interval, "
        "in a plain sentence, the config keys that differ, and the images that differ the most. Runs whose configurations "
        "differ in train.seed and output_dir only count as one.",
        EXAMPLES,
        prog,
    )
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUN",
        help="a run's folder or a results file; RUN,RUN: several seeds of one configuration; NAME=RUN,RUN: with a name",
    )
    add = parser.add_argument
    add(
        "--metric", action="append", metavar="M", help="compare this metric, as segm/AP; may be repeated (default: all)"
    )
    add("--boxes", action="store_true", help="compare boxes, of runs with masks too")
    add("--separate", action="store_true", help="do not join runs that differ in their seed only")
    add("--all-pairs", action="store_true", help="compare each run with each other one, not only with the first")
    add("--resamples", type=int, default=1000, metavar="N", help="bootstrap resamples (default: 1000)")
    add("--seed", type=int, default=0, metavar="S", help="seed of the resamples (default: 0)")
    add("--level", type=float, default=0.95, metavar="P", help="level of the intervals (default: 0.95)")
    add(
        "--score-threshold",
        type=float,
        metavar="T",
        help="of F1, precision, recall and the metrics of cells (default: the one of the best F1; 0.5 for cells)",
    )
    add("--images", type=int, default=5, metavar="N", help="images that differ the most to list (default: 5)")
    add("--output", metavar="FILE", help="also write all metrics to a file: .csv, .md, .json or .tex")
    add_results_data(parser, "results files")
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    if not options.runs:
        parser.error("two or more runs are needed: segkit compare RUN_A RUN_B")
    for flag, least in (("resamples", 1), ("seed", 0), ("images", 0)):
        if getattr(options, flag) < least:
            parser.error(f"--{flag}: expected at least {least}, not {getattr(options, flag)}")
    if not 0 < options.level < 1:
        parser.error(f"--level: expected a share between 0 and 1, as 0.95, not {options.level:g}")
    if options.score_threshold is not None and not 0 <= options.score_threshold <= 1:
        parser.error(f"--score-threshold: expected a score between 0 and 1, not {options.score_threshold:g}")
    check_results_data(options, parser)
    return options


def main(options: argparse.Namespace) -> int:
    """Compares the runs and prints the tables."""
    from segkit.dataset_tools.comparison.run import compare
    from segkit.utils.logging import setup_logging

    setup_logging()
    print(
        compare(
            options.runs,
            data=options.data,
            format=options.format,
            split=options.split,
            metrics=options.metric,
            boxes=options.boxes,
            separate=options.separate,
            all_pairs=options.all_pairs,
            resamples=options.resamples,
            seed=options.seed,
            level=options.level,
            score_threshold=options.score_threshold,
            images=options.images,
            output=options.output,
        )
    )
    return 0
