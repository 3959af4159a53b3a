"""``segkit benchmark``: time and memory of segkit beside other libraries."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.parser import Parser, add_config_file

EXAMPLES = """
segkit benchmark train infer
segkit benchmark data postprocess masks evaluate annotations memory --json benchmark.json
segkit benchmark train --device cuda --precision bf16 --batch 8 --objects 200 --size 800 1216 --count-syncs
segkit benchmark infer --config-file mine.yaml --opts model.backbone.arch=small
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit benchmark``; imports no torch, so that ``--help`` answers at once."""
    from segkit.benchmark.options import CONFIG_FILE, PARTS

    parser = Parser(
        "Measure the time and memory of segkit beside its peers (torchvision, pycocotools, Detectron2 if installed).",
        EXAMPLES,
        prog,
    )
    add = parser.add_argument
    add("parts", nargs="+", metavar="PART", help=f"what to measure: {', '.join(PARTS)}")
    add_config_file(parser, "configuration of segkit's model (default: %(default)s)", default=CONFIG_FILE)
    add("--device", default="auto", help="cpu, cuda, cuda:1 (default: cuda if there is one, else cpu)")
    add("--precision", default="fp32", help="fp32, bf16 or fp16 (default: fp32)")
    add("--batch", type=int, metavar="N", help="images per step (default: the part's)")
    add("--objects", type=int, metavar="N", help="objects, or detections, per image (default: the part's)")
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="image size in pixels (default: the part's)")
    add("--num-classes", type=int, default=80, metavar="K", help="if the configuration names none (default: 80)")
    add(
        "--annotations",
        type=int,
        metavar="N",
        help="annotations in the data set of the parts annotations, data, memory",
    )
    add("--slide", type=int, metavar="PIXELS", help="side of the image of which data reads windows (default: 20000)")
    add("--checked-images", type=int, metavar="N", help="images that data checks with their pixels (default: 100)")
    add("--runs", type=int, metavar="N", help="timed turns per side; the median is printed (default: the part's)")
    add(
        "--channels-last",
        action="store_true",
        help="also measure segkit without channels-last feature maps, its default",
    )
    add("--compile", action="store_true", help="also measure segkit with torch.compile on backbone and neck")
    add("--fused", action="store_true", help="also measure segkit with a fused optimizer")
    add("--count-syncs", action="store_true", help="count how often the host waits for the GPU in a step")
    add("--no-memory", action="store_true", help="skip peak memory, which takes a process per side")
    add("--json", metavar="FILE", help="also write all results to this file, single runs included")
    add("--opts", nargs="+", default=[], metavar="KEY=VALUE", help="configuration values to change")
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    return make_parser(prog).parse(arguments)


def main(options: argparse.Namespace) -> None:
    """Measures the parts and prints their tables."""
    from segkit.benchmark.options import Options, check_parts
    from segkit.cli.shipped import find_config

    check_parts(options.parts)
    checked = Options(
        config_file=find_config(options.config_file),
        overrides=options.opts,
        device=options.device,
        precision=options.precision,
        batch=options.batch,
        objects=options.objects,
        size=tuple(options.size) if options.size else None,
        num_classes=options.num_classes,
        annotations=options.annotations,
        slide=options.slide,
        checked_images=options.checked_images,
        runs=options.runs,
        channels_last=options.channels_last,
        compile=options.compile,
        fused=options.fused,
        count_syncs=options.count_syncs,
        memory=not options.no_memory,
    )

    from segkit.benchmark.run import run_parts  # imports torch, after the arguments were checked

    run_parts(options.parts, checked, options.json)
