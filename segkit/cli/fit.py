"""``segkit fit``: derives a configuration from a folder of data, writes it, and trains it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.dataset.arguments import add_source
from segkit.cli.parser import Parser

EXAMPLES = """
segkit fit my_data
segkit fit my_data --minutes 40 --output output/mine
segkit fit my_data --minutes 40 --resume
segkit fit my_data --weights output/other/model_best.pth data.val=null
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit fit``; imports no torch, so that ``--help`` answers at once."""
    parser = Parser(
        "Recognise a data set, derive a configuration from its images, from the time and from this machine, write it to "
        "DIR/suggested.yaml with a reason for each choice, and train it. The file is all there is: segkit train with it "
        "does the same run.",
        EXAMPLES,
        prog,
    )
    add_source(parser, or_config=False)
    add = parser.add_argument
    add(
        "--minutes",
        type=float,
        metavar="M",
        help="end of the run, evaluation included (default: by the number of images)",
    )
    add("--output", metavar="DIR", help="folder of the run (default: output/fit/NAME)")
    add(
        "--weights",
        metavar="W",
        help="weights to start from: a checkpoint of segkit, or of a ResNet or ConvNeXt classifier",
    )
    add("--device", metavar="D", help="cpu, cuda, cuda:1 (default: cuda if there is one, else cpu)")
    add("--memory", type=float, metavar="GB", help="memory that training may take (default: what is free)")
    add("--dry-run", action="store_true", help="write the configuration and try one batch, in place of training")
    add("--resume", action="store_true", help="continue the run in its folder, with the configuration that it has")
    add("--restart", action="store_true", help="start over in a folder that has a run; its files are moved aside")
    add("opts", nargs="*", metavar="KEY=VALUE", help="values of the configuration to set, as train.iterations=500")
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    for first, second in (("resume", "restart"), ("resume", "dry_run"), ("restart", "dry_run"), ("resume", "weights")):
        if getattr(options, first) and getattr(options, second):
            flags = [f"--{name.replace('_', '-')}" for name in (first, second)]
            parser.error(f"{flags[0]} and {flags[1]} cannot be combined")
    if options.minutes is not None and not 0 < options.minutes < float("inf"):
        parser.error(f"--minutes: expected a number above 0, not {options.minutes:g}")
    if options.memory is not None and not options.memory > 0:
        parser.error(f"--memory: expected gigabytes above 0, not {options.memory:g}")
    return options


def main(options: argparse.Namespace) -> None:
    """Suggests a configuration and trains it, or continues a run."""
    import numpy  # noqa: F401 - before torch, which ignores a Ctrl-C while it imports NumPy itself

    from segkit.dataset_tools.fit import FitOptions, fit
    from segkit.engine.resume_command import resume_command

    chosen = FitOptions(
        data=options.data,
        format=options.format,
        minutes=options.minutes,
        output=options.output,
        weights=options.weights,
        device=options.device,
        memory=options.memory,
        overrides=tuple(options.opts),
    )
    fit(
        chosen,
        resume=options.resume,
        restart=options.restart,
        only_try=options.dry_run,
        resume_command=resume_command(),
    )
    if not options.dry_run:
        from segkit.report.after_training import report_after_training

        report_after_training(chosen.run_dir)
