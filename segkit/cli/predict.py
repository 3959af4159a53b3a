"""``segkit predict``: image files to results in the form that the next tool reads."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from segkit.cli.parser import Parser, add_config_file
from segkit.utils.errors import SegkitError, counted

if TYPE_CHECKING:
    import torch

    from segkit.cli.predict_job import PredictJob
    from segkit.inference.predictor import Predictor
    from segkit.inference.shards import Shard
    from segkit.inference.writing import PredictionSummary

EXAMPLES = """
segkit predict images/ --weights output/mine/model_final.pth --output predictions
segkit predict a.png 'more/*.tif' --weights model_best.pth --output predictions --score-threshold 0.7
segkit predict images/ --weights output/mine/model_best.pth --output predictions --score-threshold best
segkit predict test/ --weights model_best.pth --output submission --id-map test_ids.json --no-overlays
segkit predict images/ --weights model_best.pth --output predictions --write coco overlays:style=outline
segkit predict images/ --weights model_best.pth --output predictions --resume
segkit predict movie.tif --weights model_best.pth --output movie --series --write label_map table tracks
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
    add(
        "--batch-size",
        type=int,
        default=1,
        metavar="N",
        help="images, with --tile tiles, predicted together (default: 1)",
    )
    add("--tile", type=int, metavar="N", help="predict larger images in tiles of N x N pixels (default: predict.tile)")
    add("--overlap", metavar="N", help="pixels that tiles share, or auto (default: predict.overlap)")
    add("--series", action="store_true", help="stacks and numbered files are time series, whose objects get tracks")
    add("--min-iou", type=float, metavar="X", help="with --series: lowest IoU from frame to frame (default: 0.2)")
    add("--max-gap", type=int, metavar="N", help="with --series: frames that a track may be missing (default: 1)")
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
    add(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="predict with Ray Data: on this machine, or on the cluster of that address, as auto (segkit[ray])",
    )
    add("--workers", type=int, metavar="N", help="with --ray: models at once (default: one for each GPU, else 1)")
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

    from segkit.cli.predict_job import PredictJob
    from segkit.utils.cli import sigterm_interrupts
    from segkit.utils.logging import setup_logging

    setup_logging()
    check_ranges(options)
    if options.ray is not None:
        predict_on_ray(options)
        return
    shard, device = shard_and_device(options)
    job = PredictJob(options, device)
    run = job.run_of(shard)
    summary = run.prepare(resume=options.resume, restart=options.restart)
    if summary is not None:
        print("this prediction is finished already; without --resume it is made again")
    else:
        with sigterm_interrupts():
            summary = run.run(
                job.predictor,
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
    print_summary(summary, job)
    for writer in run.writers:
        if (submission := getattr(writer, "summary", None)) is not None:
            print(f"submission: {submission}")
    if summary.refused:
        raise SegkitError("; ".join(summary.refused))


def predict_on_ray(options: argparse.Namespace) -> None:
    """Predicts the shards of the inputs on a Ray cluster and prints what was written."""
    from segkit.cli.predict_job import PredictJob
    from segkit.results.ray_run import predict_with_ray

    if options.shard is not None:
        raise SegkitError("--shard cannot be combined with --ray, which makes the shards", key="--shard")
    job = PredictJob(options, "cpu")  # checks all arguments here, and counts the inputs
    summary = predict_with_ray(
        functools.partial(PredictJob, options),
        job,
        workers=options.workers,
        address=None if options.ray == "local" else options.ray,
        resume=options.resume,
        restart=options.restart,
    )
    print_summary(summary, job)
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


def check_ranges(options: argparse.Namespace) -> None:
    """Raises SegkitError if a number is out of range."""
    if options.batch_size < 1:
        raise SegkitError(f"--batch-size must be at least 1, not {options.batch_size}")
    if options.readers < 0:
        raise SegkitError(f"--readers must be at least 0, not {options.readers}")
    if options.workers is not None and options.ray is None:
        raise SegkitError("--workers needs --ray", key="--workers")
    if options.workers is not None and options.workers < 1:
        raise SegkitError(f"--workers must be at least 1, not {options.workers}", key="--workers")
    if options.resume and options.restart:
        raise SegkitError("--resume and --restart contradict each other; pass one of them")
    if isinstance(options.score_threshold, float) and not 0 <= options.score_threshold <= 1:
        raise SegkitError(
            f"--score-threshold must be a number in 0..1, best or best_overall, not {options.score_threshold:g}"
        )


def print_summary(summary: PredictionSummary, job: PredictJob) -> None:
    """Prints the detections per class and the files that were written."""
    predictor, images = job.predictor, len(job.inputs)
    unlisted = len(job.inputs.keys() - {entry.file_name for entry in job.id_map}) if job.id_map else 0
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
