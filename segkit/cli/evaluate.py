"""``segkit eval``: evaluate a run's best model, a checkpoint, or a results file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli import train
from segkit.cli.parser import Parser, add_config_file, take_config

EXAMPLES = """
segkit eval --config-file output/mine/config.yaml
segkit eval output/mine/config.yaml --intervals
segkit eval mine.yaml --weights output/mine/model_final.pth
segkit eval coco/torchvision_mask_rcnn_r50_fpn --weights MaskRCNN_ResNet50_FPN_Weights.COCO_V1
segkit eval coco_instances_results.json --data my_cells
segkit eval coco_instances_results.json --data mine.yaml 'evaluators=[{name: Cells, score_threshold: 0.5}]'
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit eval``."""
    parser = Parser(
        "Evaluate on the data in data.val. Writes metrics, predictions and pictures to output_dir/inference. "
        "With --data, evaluate a file of COCO results without a model.",
        EXAMPLES,
        prog,
    )
    add_config_file(parser)
    parser.add_argument(
        "--weights", metavar="W", help="weights to evaluate: a file or URL (default: the run's best model)"
    )
    train.add_shared(parser)
    parser.add_argument(
        "--intervals",
        action="store_true",
        help="also print the headline metrics with 95 %% bootstrap intervals over images",
    )
    add = parser.add_argument_group("a results file in place of a configuration").add_argument
    add("--data", metavar="DATA", help="its ground truth: a folder, file or configuration; evaluators=[...] may be set")
    add("--format", metavar="F", help="format of the data (default: recognised by content)")
    add("--split", metavar="S", help="split of the data (default: val, or the only one)")
    parser.set_defaults(eval_only=True, resume=False, restart=False, dry_run=False)
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    if options.data is None:
        for flag in ("format", "split"):
            if getattr(options, flag) is not None:
                parser.error(f"--{flag} is for a results file with --data")
        take_config(options, parser)
        return options
    if options.config_file is not None or options.weights is not None:
        parser.error("--data is for a results file; it cannot be combined with --config-file or --weights")
    if not options.opts or "=" in options.opts[0]:
        parser.error("--data needs the results file: segkit eval RESULTS.json --data DATA")
    options.results = options.opts.pop(0)
    return options


def main(options: argparse.Namespace) -> int:
    """Evaluates the model of a configuration, or a results file."""
    if options.data is not None:
        return _evaluate_results(options)
    return _evaluate_with_intervals(options) if options.intervals else train.main(options)


def _evaluate_with_intervals(options: argparse.Namespace) -> int:
    """Evaluates the model of a configuration; the first process prints the intervals from the results file."""
    import os

    from segkit.config.loader import load_config
    from segkit.utils.errors import SegkitError

    cfg = load_config(options.config_file, options.opts, allow_imports=options.allow_imports)
    if not any(spec["name"] == "COCO" for spec in cfg.evaluators):
        raise SegkitError("--intervals needs the evaluator COCO, which writes the detections", key="evaluators")
    status = train.main(options)
    if not status and not train.needs_launch(options) and os.environ.get("RANK", "0") == "0":
        from segkit.dataset_tools.comparison.intervals import run_intervals

        print(run_intervals(cfg))
    return status


def _evaluate_results(options: argparse.Namespace) -> int:
    """Prints the metrics of a results file."""
    from segkit.config.overrides import parse_overrides
    from segkit.dataset_tools.evaluate_results import evaluate_results
    from segkit.utils.errors import SegkitError, did_you_mean
    from segkit.utils.logging import setup_logging

    setup_logging()
    changes = dict(parse_overrides(options.opts))
    for key in changes.keys() - {"evaluators"}:
        raise SegkitError(
            f"'{key}' cannot be set for a results file; evaluators=[...] can{did_you_mean(key, ['evaluators'])}",
            key=key,
        )
    evaluators = changes["evaluators"].plain() if changes else None
    _, table = evaluate_results(
        options.results, options.data, format=options.format, split=options.split, evaluators=evaluators
    )
    print(table)
    if options.intervals:
        from segkit.dataset_tools.comparison.intervals import results_intervals

        print(results_intervals(options.results, options.data, format=options.format, split=options.split))
    return 0
