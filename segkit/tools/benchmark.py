"""Time and memory of segkit beside its peers' on the same weights and images, in one run and in turns.

python -m segkit.tools.benchmark train infer
python -m segkit.tools.benchmark data postprocess masks evaluate annotations memory --json benchmark.json
python -m segkit.tools.benchmark train --device cuda --precision bf16 --batch 8 --objects 200 --size 800 1216 --count-syncs
"""

from __future__ import annotations

import argparse
from typing import NoReturn


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; imports no torch, so that --help answers at once."""
    from segkit.benchmark.options import CONFIG_FILE, PARTS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("parts", nargs="+", metavar="PART", help=f"what to measure, one or more of: {', '.join(PARTS)}")
    add("--config-file", metavar="F", default=CONFIG_FILE, help="segkit's model (default: %(default)s)")
    add("--device", default="auto", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    add("--precision", default="fp32", help="fp32, bf16 or fp16 (default: fp32)")
    add("--batch", type=int, metavar="N", help="images a step (default: the part's)")
    add("--objects", type=int, metavar="N", help="objects, or detections, an image (default: the part's)")
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="of the images (default: the part's)")
    add("--num-classes", type=int, default=80, metavar="K", help="unless the configuration names them (default: 80)")
    add(
        "--annotations",
        type=int,
        metavar="N",
        help="of the data set that annotations opens, and memory with 1 and 8 workers",
    )
    add("--runs", type=int, metavar="N", help="timed turns a side; the median is told (default: the part's)")
    add(
        "--channels-last",
        action="store_true",
        help="also segkit without it, to tell what it gives: it is on by default",
    )
    add("--compile", action="store_true", help="also segkit with torch.compile of the trunk, backbone and neck")
    add("--fused", action="store_true", help="also segkit with a fused optimizer")
    add("--count-syncs", action="store_true", help="count where the host waits for the GPU in a step")
    add("--no-memory", action="store_true", help="do not measure peak memory, which starts a process a side")
    add("--json", metavar="FILE", help="write everything there, single runs too")
    add("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides of the configuration, also KEY=VALUE")
    return parser.parse_intermixed_args(arguments)


def main(args: argparse.Namespace) -> None:
    from segkit.benchmark.options import Options, check_parts

    check_parts(args.parts)
    options = Options(
        config_file=args.config_file,
        overrides=args.opts,
        device=args.device,
        precision=args.precision,
        batch=args.batch,
        objects=args.objects,
        size=tuple(args.size) if args.size else None,
        num_classes=args.num_classes,
        annotations=args.annotations,
        runs=args.runs,
        channels_last=args.channels_last,
        compile=args.compile,
        fused=args.fused,
        count_syncs=args.count_syncs,
        memory=not args.no_memory,
    )

    from segkit.benchmark.run import run_parts

    run_parts(args.parts, options, args.json)


def run() -> NoReturn:
    """The command: it ends the process with its exit status."""
    options = parse_arguments()  # before any import of torch: --help and typing mistakes answer at once
    from segkit.utils.cli import run_cli

    run_cli(lambda: main(options))


if __name__ == "__main__":
    run()
