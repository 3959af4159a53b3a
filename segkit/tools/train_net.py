"""Train a model from a configuration file, go on with a run, or evaluate one.

python -m segkit.tools.train_net --config-file segkit://quickstart.yaml
python -m segkit.tools.train_net --config-file configs/quickstart.yaml output_dir=output/mine train.epochs 3 --resume
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", metavar="FILE", help="YAML file; segkit://NAME for one that comes with segkit")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in output_dir")
    parser.add_argument("--restart", action="store_true", help="begin anew where a run is; its files are moved aside")
    parser.add_argument("--eval-only", action="store_true", help="evaluate the run's best model, or --weights")
    parser.add_argument("--dry-run", action="store_true", help="one batch through everything, in a temporary folder")
    parser.add_argument("--weights", metavar="FILE", help="to start from or evaluate: segkit's or torchvision's")
    parser.add_argument("--allow-imports", action="store_true", help="let a config from a URL import Python modules")
    several = parser.add_argument_group("several processes (or by torchrun; see docs/distributed.md)")
    several.add_argument(
        "--num-gpus", type=int, default=1, metavar="N", help="a machine; processes, with train.device=cpu"
    )
    several.add_argument("--num-machines", type=int, default=1, metavar="N", help="each of which gets this command")
    several.add_argument("--machine-rank", type=int, default=0, metavar="I", help="number of this machine, from 0")
    several.add_argument("--master-address", metavar="HOST:PORT", help="of machine 0")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides: train.epochs 3, data.batch_size=2")
    options = parser.parse_intermixed_args(arguments)
    if options.dry_run and (options.resume or options.eval_only):
        parser.error("--dry-run tries the start of a run; --resume and --eval-only do not go with it")
    if options.dry_run and needs_launch(options):
        parser.error("--dry-run tries a run in one process; leave out --num-gpus and --num-machines")
    if options.config_file is None:
        parser.error("--config-file is needed; to try segkit out: --config-file segkit://quickstart.yaml")
    return options


def starts_several(options: argparse.Namespace) -> bool:
    """Whether the arguments ask for several processes."""
    return (options.num_gpus, options.num_machines, options.machine_rank, options.master_address) != (1, 1, 0, None)


def needs_launch(options: argparse.Namespace) -> bool:
    """Whether this process is to start several, and is not one of them."""
    return starts_several(options) and "TORCHELASTIC_RUN_ID" not in os.environ


def main(options: argparse.Namespace) -> None:
    from segkit.config.loader import load_config

    # A mistake in it is told before the engine is imported.
    cfg = load_config(options.config_file, options.opts, allow_imports=options.allow_imports)

    if needs_launch(options):
        from segkit.engine.launch import launch
        from segkit.engine.resume_command import program_words

        processes = {"num_gpus": options.num_gpus, "num_machines": options.num_machines}
        place = {"machine_rank": options.machine_rank, "master_address": options.master_address}
        sys.exit(launch([*program_words(), *sys.argv[1:]], **processes, **place))

    if options.dry_run:
        from segkit.engine.dry_run import dry_run

        dry_run(cfg, weights=options.weights)
        return

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


def run() -> NoReturn:
    """The command: it ends the process with its exit status."""
    options = parse_arguments()  # before any import of segkit: --help and typing mistakes answer at once
    from segkit.utils.cli import run_cli

    run_cli(lambda: main(options))


if __name__ == "__main__":
    run()
