"""``segkit predict``: image files to results in the form that the next tool reads."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.cli.parser import Parser, add_config_file
from segkit.utils.errors import SegkitError, counted

if TYPE_CHECKING:
    import torch

    from segkit.data.formats.id_map import ImageEntry
    from segkit.inference.predictor import Predictor
    from segkit.inference.shards import Shard
    from segkit.inference.writing import PredictionSummary
    from segkit.results import PartFiles, ResultWriter

EXAMPLES = """
segkit predict images/ --weights output/mine/model_final.pth --output predictions
segkit predict a.png 'more/*.tif' --weights model_best.pth --output predictions --score-threshold 0.7
segkit predict images/ --weights output/mine/model_best.pth --output predictions --score-threshold best
segkit predict test/ --weights model_best.pth --output submission --id-map test_ids.json --no-overlays
segkit predict images/ --weights model_best.pth --output predictions --write coco overlays:style=outline
segkit predict images/ --weights model_best.pth --output predictions --resume
segkit predict images/ --weights model_best.pth --output predictions --shard 2/8
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit predict``; imports no torch, so that ``--help`` answers at once."""
    parser = Parser(
        "Predict images with a checkpoint. Writes DIR/predictions.json (a COCO data set with scores), DIR/overlays/*.png and, "
        "with --id-map, DIR/test-results.json and DIR/test-results.zip, or what --write names.",
        EXAMPLES,
        prog,
    )
    add = parser.add_argument
    parser.has_inputs = True
    add("inputs", nargs="+", metavar="INPUT", help="image files, folders of images, quoted globs")
    add("--weights", required=True, metavar="W", help="checkpoint of a training run: a file or URL")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    add_config_file(parser, "configuration to use in place of the checkpoint's own")
    add(
        "--score-threshold",
        type=score_threshold,
        metavar="T",
        help="lowest score kept: 0..1; best: each class's best one on the validation data, from the checkpoint; "
        "best_overall: the best single one (default: predict.score_threshold)",
    )
    add("--batch-size", type=int, default=1, metavar="N", help="images predicted together (default: 1)")
    add("--tile", type=int, metavar="N", help="predict larger images in tiles of N x N pixels (default: predict.tile)")
    add("--overlap", metavar="N", help="pixels that tiles share, or auto (default: predict.overlap)")
    add("--id-map", metavar="JSON", help="ids of a test folder's images; also writes the submission files")
    add(
        "--write",
        nargs="+",
        metavar="NAME",
        help="results to write, as NAME or NAME:OPTION=VALUE,...; segkit config components result_writer lists them "
        "(default: coco overlays)",
    )
    add("--resume", action="store_true", help="continue a prediction that was interrupted; nothing is done twice")
    add("--restart", action="store_true", help="start again in a folder that holds an unfinished prediction")
    add(
        "--shard",
        metavar="I/N",
        help="predict the I-th of N parts of the inputs, one process each; the last one to finish writes the files of all "
        "images (torchrun -m segkit predict sets it)",
    )
    add("--device", help="cpu, cuda, cuda:1 (default: cuda if there is one, else cpu)")
    add("--readers", type=int, default=2, metavar="N", help="threads that read images (default: 2)")
    add("--no-progress", action="store_true", help="show no number of images on a terminal")
    add("--no-overlays", action="store_true", help="write no pictures")
    add("--color-by", choices=("instance", "class"), help="one colour for each in overlays (default: instance)")
    add("--style", choices=("both", "outline", "fill"), help="what overlays draw of a mask (default: both)")
    add("--skip-unreadable", action="store_true", help="warn about images that cannot be read instead of stopping")
    add("--opts", nargs="+", default=[], metavar="KEY=VALUE", help="configuration values to change")
    return parser


def score_threshold(text: str) -> float | str:
    """A number, ``best`` or ``best_overall``; raises the parser's error for another text."""
    if text in ("best", "best_overall"):
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number in 0..1, best or best_overall, not '{text}'") from None


def parse_arguments(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """The arguments; None: those of the process."""
    return make_parser(prog).parse(arguments)


def main(options: argparse.Namespace) -> None:
    """Finds the inputs, checks the outputs, predicts, prints what was written."""
    import numpy  # noqa: F401 - before torch, which ignores a Ctrl-C while it imports NumPy itself

    from segkit.cli.shipped import find_config
    from segkit.data.formats.id_map import load_id_map
    from segkit.inference.find_inputs import find_inputs
    from segkit.inference.predict_files import name_inputs
    from segkit.inference.predictor import Predictor
    from segkit.results.prediction_run import PredictionRun
    from segkit.utils.cli import sigterm_interrupts
    from segkit.utils.logging import setup_logging
    from segkit.utils.paths import output_folder, prepare_folder

    setup_logging()
    check_ranges(options)
    shard, device = shard_and_device(options)
    specs = writer_specs(options)
    output = output_folder(options.output, "--output")
    overlays = output_folder(output / "overlays", "--output")
    check_output_files(output, with_submission=options.id_map is not None)
    id_map = load_id_map(options.id_map) if options.id_map is not None else []
    found = find_inputs(options.inputs, own_output=overlays)
    config = find_config(options.config_file) if options.config_file is not None else None
    tiles = {"predict.tile": options.tile, "predict.overlap": options.overlap}
    overrides = [*options.opts, *(f"{key}={value}" for key, value in tiles.items() if value is not None)]
    predictor = Predictor.load(options.weights, config, overrides, options.score_threshold, device)
    if options.overlap is not None and predictor.cfg.predict.tile is None:
        raise SegkitError("--overlap needs --tile, or predict.tile in the configuration", key="--overlap")
    inputs = name_inputs(
        found.files,
        id_map,
        skipped=found.skipped,
        skip_unreadable=options.skip_unreadable,
        reader=predictor.reader,
    )
    run = PredictionRun(
        output,
        inputs,
        lambda parts: make_writers(specs, options, predictor, id_map, output, parts),
        identity_of(options, predictor, inputs, specs),
        shard=shard,
        batch_size=options.batch_size,
    )
    prepare_folder(output, "--output")
    summary = run.prepare(resume=options.resume, restart=options.restart)
    if summary is not None:
        print("this prediction is finished already; without --resume it is made again")
    else:
        with sigterm_interrupts():
            summary = run.run(
                predictor,
                resume=options.resume,
                skip_unreadable=options.skip_unreadable,
                readers=options.readers,
                progress=not options.no_progress,
            )
    if summary is None:
        own = counted(len(run.own_inputs), "image")
        print(
            f"shard {shard.index} of {shard.count} is finished ({own}); the last shard writes the files of all images"
        )
        return
    unlisted = len(inputs.keys() - {entry.file_name for entry in id_map}) if id_map else 0
    print_summary(summary, predictor, images=len(inputs), unlisted=unlisted)
    for writer in run.writers:
        if (submission := getattr(writer, "summary", None)) is not None:
            print(f"submission: {submission}")
    if summary.refused:
        raise SegkitError("; ".join(summary.refused))


def shard_and_device(options: argparse.Namespace) -> tuple[Shard, torch.device]:
    """The shard of this process and its device; torchrun's processes have a GPU each."""
    import torch

    from segkit.inference.shards import Shard
    from segkit.utils.device import choose_device

    launched = Shard.of_launcher()
    if options.shard is not None and launched is not None:
        raise SegkitError(
            "--shard cannot be combined with torchrun, which makes a shard of each process", key="--shard"
        )
    device = options.device
    if launched is not None and device is None and torch.cuda.is_available():
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    shard = Shard.parse(options.shard) if options.shard is not None else launched or Shard(1, 1)
    return shard, choose_device(device, key="--device")


def writer_specs(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The writers of ``--write``, else those of the COCO file, the pictures and, with an id map, the submission."""
    from segkit.results.build import writer_spec

    if options.write is None:
        names = ["coco"] + ["overlays"] * (not options.no_overlays) + ["submission"] * (options.id_map is not None)
        specs: list[dict[str, Any]] = [{"name": name} for name in names]
    else:
        specs = [writer_spec(text) for text in options.write]
    overlays = next((spec for spec in specs if spec["name"] == "overlays"), None)
    if overlays is not None and options.no_overlays:
        raise SegkitError("--no-overlays contradicts --write overlays; omit one of them", key="--no-overlays")
    for flag, option in (("--color-by", "color_by"), ("--style", "style")):
        if (value := getattr(options, option)) is None:
            continue
        if overlays is None:
            raise SegkitError(f"{flag} needs the writer overlays; add it to --write", key=flag)
        overlays.setdefault(option, value)
    return specs


def identity_of(
    options: argparse.Namespace, predictor: Predictor, inputs: Mapping[str, Path], specs: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What an interrupted prediction and its continuation have in common."""
    from segkit.results.identity import prediction_identity

    return prediction_identity(
        predictor, inputs, weights=options.weights, id_map=options.id_map, writers=specs, batch_size=options.batch_size
    )


def check_ranges(options: argparse.Namespace) -> None:
    """Raises SegkitError if a number is out of range."""
    if options.batch_size < 1:
        raise SegkitError(f"--batch-size must be at least 1, not {options.batch_size}")
    if options.readers < 0:
        raise SegkitError(f"--readers must be at least 0, not {options.readers}")
    if options.resume and options.restart:
        raise SegkitError("--resume and --restart contradict each other; pass one of them")
    if isinstance(options.score_threshold, float) and not 0 <= options.score_threshold <= 1:
        raise SegkitError(
            f"--score-threshold must be a number in 0..1, best or best_overall, not {options.score_threshold:g}"
        )


def check_output_files(output: Path, *, with_submission: bool) -> None:
    """Raises SegkitError if a result cannot be written to the output folder."""
    from segkit.evaluation.submission import RESULTS_NAME, ZIP_NAME
    from segkit.utils.paths import output_file

    for name in ("predictions.json", *((RESULTS_NAME, ZIP_NAME) if with_submission else ())):
        output_file(output / name, "--output")


def make_writers(
    specs: Sequence[dict[str, Any]],
    options: argparse.Namespace,
    predictor: Predictor,
    id_map: Sequence[ImageEntry],
    output: Path,
    parts: PartFiles,
) -> list[ResultWriter]:
    """Returns the writers; the ids of images and categories are those of the id map, if there is one."""
    from segkit.data.formats.id_map import id_map_category_ids
    from segkit.results.build import build_writers

    classes, category_ids = predictor.classes, predictor.category_ids
    if id_map and not getattr(predictor.model, "class_agnostic", False):  # the ids of the COCO file, if it is one
        category_ids = id_map_category_ids(options.id_map, classes) or category_ids
    return build_writers(
        specs,
        output=output,
        classes=classes,
        category_ids=category_ids,
        parts=parts,
        image_ids={entry.file_name: entry.image_id for entry in id_map},
        id_map=id_map,
    )


def print_summary(summary: PredictionSummary, predictor: Predictor, *, images: int, unlisted: int) -> None:
    """Prints the detections per class and the files that were written."""
    print(f"\n{summary.table(predictor.classes)}\n")
    if summary.skipped:
        print(f"{len(summary.skipped)} of {images} images could not be read and were skipped")
    if unlisted:
        print(f"{unlisted} images are not in the id map and not in the submission")
    print(f"score at least {threshold_text(predictor)}; written:")
    for path in summary.written:
        print(f"  {path}")


def threshold_text(predictor: Predictor) -> str:
    """The lowest score that is kept; of several, that of each class."""
    values = {f"{value:.4g}" for value in predictor.thresholds.values()}
    if len(values) == 1:
        return values.pop()
    return ", ".join(f"{value:.4g} ({name})" for name, value in predictor.thresholds.items())
