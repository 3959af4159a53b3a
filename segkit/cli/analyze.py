"""``segkit analyze``: parameters, FLOPs, strides, time and memory of a model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.parser import Parser, add_config_file, add_overrides, take_config

EXAMPLES = """
segkit analyze --config-file segkit://quickstart.yaml --size 256 256
segkit analyze mine.yaml --weights output/mine/model_final.pth --device cuda
segkit analyze mine.yaml model.backbone.arch=small --json analysis.json
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit analyze``; imports no torch, so that ``--help`` answers at once."""
    parser = Parser(
        "Count a model's parameters and FLOPs, list its strides and trainable stages, and measure the time and memory "
        "of a training step and of a prediction.",
        EXAMPLES,
        prog,
    )
    add_config_file(parser)
    add = parser.add_argument
    add("--weights", metavar="W", help="checkpoint to analyse (default: random weights)")
    add("--size", type=int, nargs=2, default=[800, 1216], metavar=("H", "W"), help="image size (default: 800 1216)")
    add("--batch", type=int, default=1, metavar="N", help="images per step (default: 1)")
    add("--objects", type=int, default=20, metavar="N", help="objects per image in the training step (default: 20)")
    add("--runs", type=int, default=3, metavar="N", help="timed steps; the median is printed (default: 3)")
    add("--device", default="auto", help="cpu, cuda, cuda:1 (default: cuda if there is one, else cpu)")
    add("--precision", default="fp32", help="fp32, bf16 or fp16 (default: fp32)")
    add("--num-classes", type=int, metavar="K", help="default: the configuration's or the checkpoint's, else 80")
    add("--json", metavar="FILE", help="also write the results to this file")
    add_overrides(parser)
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    take_config(options, parser)
    return options


def main(options: argparse.Namespace) -> None:
    """Analyses the model and prints the tables."""
    from segkit.benchmark.options import Options

    checked = Options(
        config_file=options.config_file,
        overrides=options.opts,
        device=options.device,
        precision=options.precision,
        batch=options.batch,
        objects=options.objects,
        runs=options.runs,
        num_classes=options.num_classes,
        size=tuple(options.size),
    )

    from segkit.benchmark.run import run_analysis  # imports torch, after the arguments were checked

    run_analysis(checked, weights=options.weights, json_path=options.json)
