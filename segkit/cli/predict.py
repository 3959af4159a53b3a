"""``segkit predict``: image files to pictures, a COCO file and a submission."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.cli.parser import Parser, add_config_file
from segkit.utils.errors import SegkitError

if TYPE_CHECKING:
    from segkit.data.formats.id_map import ImageEntry
    from segkit.inference.predict_files import PredictionSummary
    from segkit.inference.predictor import Predictor
    from segkit.results import PartFiles, ResultWriter

EXAMPLES = """
segkit predict images/ --weights output/mine/model_final.pth --output predictions
segkit predict a.png 'more/*.tif' --weights model_best.pth --output predictions --score-threshold 0.7
segkit predict images/ --weights output/mine/model_best.pth --output predictions --score-threshold best
segkit predict test/ --weights model_best.pth --output submission --id-map test_ids.json --no-overlays
"""


def make_parser(prog: str | None = None) -> Parser:
    """The parser of ``segkit predict``; imports no torch, so that ``--help`` answers at once."""
    parser = Parser(
        "Predict images with a checkpoint. Writes DIR/predictions.json (a COCO data set with scores), "
        "DIR/overlays/*.png and, with --id-map, DIR/test-results.json and DIR/test-results.zip.",
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
    add("--device", help="cpu, cuda, cuda:1 (default: cuda if there is one, else cpu)")
    add("--no-overlays", action="store_true", help="write no pictures")
    add("--color-by", choices=("instance", "class"), default="instance", help="one colour for each (default: instance)")
    add("--style", choices=("both", "outline", "fill"), default="both", help="what is drawn of a mask (default: both)")
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
    from segkit.inference.predict_files import name_inputs, predict_files
    from segkit.inference.predictor import Predictor
    from segkit.results import PartFiles, SubmissionResultWriter
    from segkit.utils.cli import sigterm_interrupts
    from segkit.utils.device import choose_device
    from segkit.utils.logging import setup_logging
    from segkit.utils.paths import output_folder, prepare_folder

    setup_logging()
    check_ranges(options)
    device = choose_device(options.device, key="--device")
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
    parts = PartFiles(output / ".parts")
    writers = make_writers(options, predictor, id_map, output, parts)
    prepare_folder(output, "--output")
    parts.remove()  # of a prediction that was killed
    try:
        with sigterm_interrupts():
            summary = predict_files(
                predictor, inputs, writers, batch_size=options.batch_size, skip_unreadable=options.skip_unreadable
            )
    finally:
        parts.remove()
    unlisted = len(inputs.keys() - {entry.file_name for entry in id_map}) if id_map else 0
    print_summary(summary, predictor, images=len(inputs), unlisted=unlisted)
    for submission in [one.summary for one in writers if isinstance(one, SubmissionResultWriter) and one.summary]:
        print(f"submission: {submission}")
    if summary.refused:
        raise SegkitError("; ".join(summary.refused))


def check_ranges(options: argparse.Namespace) -> None:
    """Raises SegkitError if a number is out of range."""
    if options.batch_size < 1:
        raise SegkitError(f"--batch-size must be at least 1, not {options.batch_size}")
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
    options: argparse.Namespace, predictor: Predictor, id_map: Sequence[ImageEntry], output: Path, parts: PartFiles
) -> list[ResultWriter]:
    """Returns the writers of the COCO file, the pictures and the submission, if asked for."""
    from segkit.data.formats.id_map import id_map_category_ids
    from segkit.results import CocoResultWriter, OverlayResultWriter, SubmissionResultWriter

    classes, category_ids = predictor.classes, predictor.category_ids
    if id_map and not getattr(predictor.model, "class_agnostic", False):  # the ids of the COCO file, if it is one
        category_ids = id_map_category_ids(options.id_map, classes) or category_ids
    ids = {entry.file_name: entry.image_id for entry in id_map}
    common = (output, classes, category_ids, parts)
    writers: list[ResultWriter] = [CocoResultWriter(*common, image_ids=ids)]
    if not options.no_overlays:
        writers.append(OverlayResultWriter(*common, color_by=options.color_by, style=options.style))
    if options.id_map is not None:
        writers.append(SubmissionResultWriter(*common, id_map=id_map))
    return writers


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
