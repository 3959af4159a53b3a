"""Predict images with a trained checkpoint: overlay pictures, a COCO JSON file and, with an id map, a submission.

python tools/predict.py --weights output/cells/model_final.pth images/ 'more/*.tif' --output predictions
"""

from __future__ import annotations

import argparse


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
    from segkit.evaluation.submission import SubmissionWriter
    from segkit.inference.find_inputs import find_inputs
    from segkit.inference.predict_files import Writer, name_inputs, predict_files
    from segkit.inference.predictor import Predictor
    from segkit.utils.errors import SegkitError
    from segkit.utils.logging import setup_logging
    from segkit.visualization.overlays import OverlayWriter

    setup_logging()
    if args.batch_size < 1:
        raise SegkitError(f"--batch-size must be at least 1, not {args.batch_size}")
    id_map = load_id_map(args.id_map) if args.id_map else []
    inputs = name_inputs(find_inputs(args.inputs), id_map)
    predictor = Predictor.load(args.weights, args.config_file, args.opts, args.score_threshold, args.device)
    ids = {entry.file_name: entry.image_id for entry in id_map}
    category_ids = predictor.category_ids
    if id_map and not getattr(predictor.model, "class_agnostic", False):  # a COCO file's ids, where it is one
        category_ids = id_map_category_ids(args.id_map, predictor.classes) or category_ids
    writers: list[Writer] = [PredictionsWriter(f"{args.output}/predictions.json", predictor.classes, category_ids, ids)]
    if not args.no_overlays:
        writers.append(OverlayWriter(f"{args.output}/overlays", inputs, predictor.classes, args.color_by))
    if id_map:
        writers.append(SubmissionWriter(args.output, id_map, category_ids))
    summary = predict_files(
        predictor, inputs, writers, batch_size=args.batch_size, skip_unreadable=args.skip_unreadable
    )
    print(f"\n{summary.table(predictor.classes)}\n")
    if summary.skipped:
        print(f"{len(summary.skipped)} images could not be read and were skipped")
    if unlisted := len(inputs) - len(id_map) if id_map else 0:
        print(f"{unlisted} images are not in the id map and not in the submission")
    print(f"score at least {predictor.score_threshold:g}; written:")
    for path in summary.written:
        print(f"  {path}")


if __name__ == "__main__":
    options = parse_arguments()  # before any import of segkit: --help and typing mistakes answer at once
    from segkit.utils.cli import run_cli

    run_cli(lambda: main(options))
