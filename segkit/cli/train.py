"""``segkit train``: train a model, continue a run, try one batch, or evaluate."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from segkit.cli.parser import Parser, add_config_file, add_overrides, take_config

EXAMPLES = """
segkit train --config-file segkit://quickstart.yaml
segkit train configs/quickstart.yaml train.epochs=3 output_dir=output/mine
segkit train mine.yaml --dry-run
segkit train mine.yaml --resume
segkit train mine.yaml --weights model_best.pth output_dir=output/finetuned
segkit train mine.yaml --num-gpus 8
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit train``; imports no torch, so that ``--help`` answers at once."""
    parser = Parser("Train a model from a configuration file, or continue a run.", EXAMPLES, prog)
    add_config_file(parser)
    add = parser.add_argument
    add("--resume", action="store_true", help="continue from the last checkpoint in output_dir")
    add("--restart", action="store_true", help="start over in an output_dir that has a run; its files are moved aside")
    add("--eval-only", action="store_true", help="evaluate the run's best model, or --weights (segkit eval)")
    add("--dry-run", action="store_true", help="one batch through everything that a run does, in a temporary folder")
    add(
        "--weights",
        metavar="W",
        help="weights to start from or to evaluate: a file, a URL, or torchvision's name of them",
    )
    add_shared(parser)
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    if options.dry_run and (options.resume or options.eval_only):
        parser.error("--dry-run tries the start of a run; it cannot be combined with --resume or --eval-only")
    if options.dry_run and needs_launch(options):
        parser.error("--dry-run runs in one process; it cannot be combined with --num-gpus or --num-machines")
    take_config(options, parser)
    return options


def add_shared(parser: Parser) -> None:
    """Adds the arguments that ``segkit train`` and ``segkit eval`` share."""
    parser.add_argument(
        "--allow-imports", action="store_true", help="allow a configuration from a URL to import Python modules"
    )
    add = parser.add_argument_group("several processes (or start the command with torchrun)").add_argument
    add("--num-gpus", type=int, default=1, metavar="N", help="processes per machine, one per GPU (default: 1)")
    add(
        "--num-machines",
        type=int,
        default=1,
        metavar="N",
        help="number of machines; start the command on each (default: 1)",
    )
    add("--machine-rank", type=int, default=0, metavar="I", help="index of this machine, from 0 (default: 0)")
    add("--master-address", metavar="HOST:PORT", help="address of machine 0, if there are several")
    add_overrides(parser)


def starts_several(options: argparse.Namespace) -> bool:
    """Whether the arguments ask for several processes."""
    return (options.num_gpus, options.num_machines, options.machine_rank, options.master_address) != (1, 1, 0, None)


def needs_launch(options: argparse.Namespace) -> bool:
    """Whether this process has to start the others, and is not one of them."""
    return starts_several(options) and "TORCHELASTIC_RUN_ID" not in os.environ


def main(options: argparse.Namespace) -> int:
    """Trains, evaluates or tries one batch, as the arguments say; returns the exit status."""
    import numpy  # noqa: F401 - before torch, which ignores a Ctrl-C while it imports NumPy itself

    from segkit.config.loader import load_config

    # Before the import of the engine, which takes seconds: a mistake in the configuration is reported sooner.
    cfg = load_config(options.config_file, options.opts, allow_imports=options.allow_imports)

    if needs_launch(options):
        from segkit.engine.launch import launch
        from segkit.engine.resume_command import program_words

        processes = {"num_gpus": options.num_gpus, "num_machines": options.num_machines}
        place = {"machine_rank": options.machine_rank, "master_address": options.master_address}
        return launch([*program_words(), *sys.argv[1:]], **processes, **place)

    if options.dry_run:
        from segkit.engine.dry_run import dry_run

        dry_run(cfg, weights=options.weights)
        return 0

    from segkit.engine.resume_command import resume_command
    from segkit.engine.run import train

    train(
        cfg,
        resume=options.resume,
        restart=options.restart,
        eval_only=options.eval_only,
        weights=options.weights,
        resume_command=resume_command(),
    )
    if not options.eval_only:
        from segkit.report.after_training import report_after_training

        report_after_training(cfg.output_dir)
    return 0
