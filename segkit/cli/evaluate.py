"""``segkit eval``: evaluate a run's best model or a checkpoint (``train --eval-only``)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli.parser import Parser, add_config_file, take_config
from segkit.cli.train import add_shared, main

__all__ = ["main", "make_parser", "parse_arguments"]

EXAMPLES = """
segkit eval --config-file output/mine/config.yaml
segkit eval mine.yaml --weights output/mine/model_final.pth
segkit eval coco/torchvision_mask_rcnn_r50_fpn --weights MaskRCNN_ResNet50_FPN_Weights.COCO_V1
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit eval``; :func:`segkit.cli.train.main` reads its arguments."""
    parser = Parser(
        "Evaluate on the data in data.val. Writes metrics, predictions and pictures to output_dir/inference.",
        EXAMPLES,
        prog,
    )
    add_config_file(parser)
    parser.add_argument(
        "--weights", metavar="W", help="weights to evaluate: a file or URL (default: the run's best model)"
    )
    add_shared(parser)
    parser.set_defaults(eval_only=True, resume=False, restart=False, dry_run=False)
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    take_config(options, parser)
    return options
