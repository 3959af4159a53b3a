"""Predict images with a trained checkpoint: overlay pictures, a COCO JSON file and, with an id map, a submission.

python -m segkit.tools.predict --weights output/cells/model_final.pth images/ 'more/*.tif' --output predictions
"""

from __future__ import annotations

import argparse
from typing import NoReturn


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; imports no torch, so that --help answers at once."""
    parser = argparse.ArgumentParser(
        description="Predict images with a checkpoint. Writes DIR/predictions.json (a COCO data set with scores), "
        "DIR/overlays/*.png and, with --id-map, DIR/test-results.json and DIR/test-results.zip.",
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="image files, folders of images, quoted globs")
    add("--weights", required=True, metavar="W", help="checkpoint of a training run: file or URL")
    add("--output", required=True, metavar="DIR", help="folder to write to")
    add("--config-file", metavar="F", help="use this configuration instead of the checkpoint's own")
    add("--score-threshold", type=float, metavar="T", help="lowest score kept (default: predict.score_threshold)")
    add("--batch-size", type=int, default=1, metavar="N", help="images predicted together (default: 1)")
    add("--id-map", metavar="JSON", help="ids of a test folder's images: also writes the submission files")
    add("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    add("--no-overlays", action="store_true", help="write no pictures")
    add("--color-by", choices=("instance", "class"), default="instance", help="what an overlay's colours tell apart")
    add("--skip-unreadable", action="store_true", help="warn about images that cannot be read instead of stopping")
    add("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides of the configuration, also KEY=VALUE")
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> None:
    """Find the inputs, check them, predict, say where everything is."""
    from segkit.data.formats.id_map import id_map_category_ids, load_id_map
    from segkit.evaluation.results import PredictionsWriter
    from segkit.evaluation.submission import RESULTS_NAME, ZIP_NAME, SubmissionWriter
    from segkit.inference.find_inputs import find_inputs
    from segkit.inference.predict_files import Writer, name_inputs, predict_files
    from segkit.inference.predictor import Predictor
    from segkit.utils.cli import sigterm_interrupts
    from segkit.utils.device import choose_device
    from segkit.utils.errors import SegkitError
    from segkit.utils.logging import setup_logging
    from segkit.utils.paths import output_file, output_folder, prepare_folder
    from segkit.visualization.overlays import OverlayWriter

    setup_logging()
    if args.batch_size < 1:
        raise SegkitError(f"--batch-size must be at least 1, not {args.batch_size}")
    if args.score_threshold is not None and not 0 <= args.score_threshold <= 1:
        raise SegkitError(f"--score-threshold must be a number in 0..1, not {args.score_threshold:g}")
    device = choose_device(args.device, key="--device")
    output = output_folder(args.output, "--output")
    overlays = output_folder(output / "overlays", "--output")
    for name in ("predictions.json", *((RESULTS_NAME, ZIP_NAME) if args.id_map is not None else ())):
        output_file(output / name, "--output")
    id_map = load_id_map(args.id_map) if args.id_map is not None else []
    found = find_inputs(args.inputs, own_output=overlays)
    inputs = name_inputs(found.files, id_map, skipped=found.skipped, skip_unreadable=args.skip_unreadable)
    predictor = Predictor.load(args.weights, args.config_file, args.opts, args.score_threshold, device)
    ids = {entry.file_name: entry.image_id for entry in id_map}
    category_ids = predictor.category_ids
    if id_map and not getattr(predictor.model, "class_agnostic", False):  # a COCO file's ids, where it is one
        category_ids = id_map_category_ids(args.id_map, predictor.classes) or category_ids
    writers: list[Writer] = [PredictionsWriter(output / "predictions.json", predictor.classes, category_ids, ids)]
    if not args.no_overlays:
        writers.append(OverlayWriter(overlays, inputs, predictor.classes, args.color_by))
    if args.id_map is not None:
        writers.append(SubmissionWriter(output, id_map, category_ids))
    prepare_folder(output, "--output")
    with sigterm_interrupts():
        summary = predict_files(
            predictor, inputs, writers, batch_size=args.batch_size, skip_unreadable=args.skip_unreadable
        )
    print(f"\n{summary.table(predictor.classes)}\n")
    if summary.skipped:
        print(f"{len(summary.skipped)} of {len(inputs)} images could not be read and were skipped")
    if unlisted := len(inputs.keys() - ids.keys()) if id_map else 0:
        print(f"{unlisted} images are not in the id map and not in the submission")
    print(f"score at least {predictor.score_threshold:g}; written:")
    for path in summary.written:
        print(f"  {path}")
    if summary.refused:
        raise SegkitError("; ".join(summary.refused))


def run() -> NoReturn:
    """The command: it ends the process with its exit status."""
    options = parse_arguments()  # before any import of segkit: --help and typing mistakes answer at once
    from segkit.utils.cli import run_cli

    run_cli(lambda: main(options))


if __name__ == "__main__":
    run()
