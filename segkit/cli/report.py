"""``segkit report``: one HTML file about one run or several."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.parser import Parser, add_results_data, check_results_data

EXAMPLES = """
segkit report output/mine
segkit report output/first output/second --output comparison.html
segkit report coco_instances_results.json --data my_cells --split val
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit report``; imports no torch, so that ``--help`` answers at once."""
    parser = Parser(
        "Write one HTML file about a trained run, or about several side by side: metrics with intervals, why it fails and "
        "what to try next, curves, data, galleries. The file needs no network. With --data, results files count as runs.",
        EXAMPLES,
        prog,
    )
    add = parser.add_argument
    add(
        "runs", nargs="+", metavar="RUN", help="folder of a run that was evaluated; with --data, a file of COCO results"
    )
    add("--output", metavar="FILE", help="the HTML file (default: report.html in the run's folder, or here)")
    add("--images", type=int, default=12, metavar="N", help="images in each group of the gallery (default: 12)")
    add("--resamples", type=int, default=1000, metavar="N", help="of the bootstrap; 0: no intervals (default: 1000)")
    add("--seed", type=int, default=0, metavar="N", help="of the bootstrap and of the random images (default: 0)")
    add("--attributes", metavar="CSV", help="divide the metrics by its columns; the first column names the images")
    add_results_data(parser, "results files in place of runs")
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    for flag in ("images", "resamples", "seed"):
        if getattr(options, flag) < 0:
            parser.error(f"--{flag}: expected 0 or more, not {getattr(options, flag)}")
    if options.output is not None and not options.output.lower().endswith((".html", ".htm")):
        parser.error(f"--output: expected the name of an HTML file, as report.html, not '{options.output}'")
    check_results_data(options, parser)
    return options


def main(options: argparse.Namespace) -> None:
    """Writes the report and prints its path."""
    from segkit.report import ReportOptions, write_report
    from segkit.report.open_runs import default_output, open_runs
    from segkit.utils.logging import setup_logging

    setup_logging()
    runs = open_runs(options.runs, data=options.data, format=options.format, split=options.split)
    choices = ReportOptions(
        images=options.images, resamples=options.resamples, seed=options.seed, attributes=options.attributes
    )
    path = write_report(runs, options.output or default_output(runs), choices)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MB")
