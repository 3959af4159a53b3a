"""What a model is made of and what it costs: parameters, FLOPs, strides, trainable stages, time and memory of a step.

python -m segkit.tools.analyze_model --config-file segkit://quickstart.yaml --size 256 256
python -m segkit.tools.analyze_model --config-file mine.yaml --weights output/mine/model_final.pth --device cuda
"""

from __future__ import annotations

import argparse
from typing import NoReturn


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; imports no torch, so that --help answers at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", required=True, metavar="F", help="YAML file; segkit://NAME for one that comes with segkit")
    add("--weights", metavar="W", help="a checkpoint to analyse instead of random weights")
    add("--size", type=int, nargs=2, default=[800, 1216], metavar=("H", "W"), help="of the images (default: 800 1216)")
    add("--batch", type=int, default=1, metavar="N", help="images a step (default: 1)")
    add("--objects", type=int, default=20, metavar="N", help="objects an image in the training step (default: 20)")
    add("--runs", type=int, default=3, metavar="N", help="timed steps, of which the median is told (default: 3)")
    add("--device", default="auto", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    add("--precision", default="fp32", help="fp32, bf16 or fp16 (default: fp32)")
    add("--num-classes", type=int, metavar="K", help="default: the configuration's or the checkpoint's, else 80")
    add("--json", metavar="FILE", help="write the same there")
    add("opts", nargs="*", metavar="KEY VALUE | KEY=VALUE", help="overrides, as for train_net.py")
    return parser.parse_intermixed_args(arguments)


def main(args: argparse.Namespace) -> None:
    from segkit.benchmark.options import Options

    options = Options(  # checks the numbers
        config_file=args.config_file, overrides=args.opts, device=args.device, precision=args.precision,
        batch=args.batch, objects=args.objects, runs=args.runs, num_classes=args.num_classes, size=tuple(args.size),
    )  # fmt: skip

    from segkit.benchmark.run import run_analysis

    run_analysis(options, weights=args.weights, json_path=args.json)


def run() -> NoReturn:
    """The command: it ends the process with its exit status."""
    options = parse_arguments()  # before any import of torch: --help and typing mistakes answer at once
    from segkit.utils.cli import run_cli

    run_cli(lambda: main(options))


if __name__ == "__main__":
    run()
