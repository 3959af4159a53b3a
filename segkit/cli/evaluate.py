"""``segkit eval``: evaluate a run, a checkpoint or a file of predictions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from segkit.cli import train
from segkit.cli.parser import Parser, add_config_file, add_results_data, check_results_data, take_config

EXAMPLES = """
segkit eval output/mine
segkit eval output/mine --intervals
segkit eval mine.yaml --weights output/mine/model_final.pth
segkit eval coco/torchvision_mask_rcnn_r50_fpn --weights MaskRCNN_ResNet50_FPN_Weights.COCO_V1
segkit eval coco_instances_results.json --data my_cells
segkit eval coco_instances_results.json --data mine.yaml 'evaluators=[{name: Cells, score_threshold: 0.5}]'
segkit eval predictions/predictions.json --data my_cells
segkit eval submission/test-results.zip --id-map test_ids.json
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit eval``."""
    parser = Parser(
        "Evaluate on the data in data.val. Writes metrics, predictions and pictures to output_dir/inference. "
        "With --data, evaluate a file of predictions without a model. With --id-map, check a submission.",
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
    text = "its ground truth: a folder, file or configuration; evaluators=[...] may be set"
    add_results_data(parser, "a file of predictions in place of a configuration", text)
    add = parser.add_argument_group("a submission in place of a configuration").add_argument
    add("--id-map", metavar="JSON", help="check a submission, test-results.json or .zip, without ground truth")
    add("--category-ids", metavar="K,K", help="the ids that the submission may have (default: those of the id map)")
    parser.set_defaults(eval_only=True, resume=False, restart=False, dry_run=False)
    return parser


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    parser = make_parser(prog)
    options = parser.parse(arguments)
    check_results_data(options, parser)
    if options.category_ids is not None and options.id_map is None:
        parser.error("--category-ids is for a submission with --id-map")
    if options.data is None and options.id_map is None:
        if options.opts and options.opts[0].endswith((".json", ".zip")):
            parser.error(f"'{options.opts[0]}' needs its ground truth, --data DATA, or for a submission --id-map JSON")
        take_config(options, parser)
        return options
    flag = _flag("data" if options.id_map is None else "id_map")
    for option in ("config_file", "weights", *(("data",) if options.id_map is not None else ())):
        if getattr(options, option) is not None:
            parser.error(f"{flag} is for a file of predictions; it cannot be combined with {_flag(option)}")
    if not options.opts or "=" in options.opts[0]:
        parser.error(f"{flag} needs the file of predictions: segkit eval FILE.json {flag} ...")
    options.results = options.opts.pop(0)
    if options.id_map is not None and options.opts:
        parser.error(f"unexpected argument '{options.opts[0]}': a submission is checked, not evaluated")
    if options.id_map is not None and options.intervals:
        parser.error("--intervals is for an evaluation; a submission is checked, not evaluated")
    return options


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def main(options: argparse.Namespace) -> int:
    """Evaluates the model of a configuration or a file of predictions, or checks a submission."""
    if options.id_map is not None:
        return _check_submission(options)
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


def _check_submission(options: argparse.Namespace) -> int:
    """Prints what a submission has."""
    from segkit.data.formats.id_map import all_category_ids, load_id_map
    from segkit.evaluation.submission_check import check_submission
    from segkit.utils.errors import SegkitError

    category_ids = all_category_ids(options.id_map)
    if options.category_ids is not None:
        try:
            category_ids = [int(word) for word in options.category_ids.split(",")]
        except ValueError:
            raise SegkitError(
                f"--category-ids: expected integers as 1,2,3, got '{options.category_ids}'", key="--category-ids"
            ) from None
    print(f"valid: {check_submission(options.results, load_id_map(options.id_map), category_ids)}")
    return 0


def _evaluate_results(options: argparse.Namespace) -> int:
    """Prints the metrics of a results file."""
    from segkit.config.overrides import parse_overrides
    from segkit.dataset_tools.evaluate_results import evaluate_results
    from segkit.utils.errors import SegkitError
    from segkit.utils.logging import setup_logging

    setup_logging()
    changes = dict(parse_overrides(options.opts))
    for key in changes.keys() - {"evaluators"}:
        raise SegkitError(
            f"'{key}' cannot be set for a results file; the only key that can is evaluators, as evaluators=[...]",
            key=key,
        )
    evaluators = changes["evaluators"].plain() if changes else None
    choice = {"format": options.format, "split": options.split, "evaluators": evaluators}
    _, table = evaluate_results(options.results, options.data, **choice)
    print(table)
    if options.intervals:
        from segkit.dataset_tools.comparison.intervals import results_intervals

        print(results_intervals(options.results, options.data, **choice))
    return 0
