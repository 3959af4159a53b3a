"""The detections and losses in which label errors are looked for."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segkit.data.formats import Dataset
from segkit.dataset_tools.source import open_data
from segkit.diagnosis.settings import ModelSettings
from segkit.engine.finished_run import FinishedRun, finished_run, open_finished_run
from segkit.engine.object_losses import measure_object_losses
from segkit.engine.run_split import RunSplit, best_checkpoint, kept_checkpoints, open_run_split
from segkit.evaluation.coco import RESULTS_NAME
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.utils.errors import SegkitError
from segkit.utils.paths import local_path
from segkit.utils.progress import progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """One model or several, and what they say about the same images.

    Attributes:
        runs: detections of each; the first one's are shown.
        data: overlaps of each.
        losses: of all objects, see :func:`segkit.diagnosis.label_errors.find_label_errors`; None: not measured.
        split: name of the images' split.
        notes: sentences about what was used and what was not.
    """

    runs: Sequence[FinishedRun]
    data: Sequence[DatasetOverlaps]
    losses: Mapping[int, np.ndarray] | None
    split: str
    notes: Sequence[str]


def read_models(
    sources: Sequence[str],
    folder: Path,
    *,
    data: str | None = None,
    format: str | None = None,
    split: str = "val",
    weights: Sequence[str] = (),
    losses: bool = True,
    device: str | None = None,
) -> Models:
    """Opens runs or a results file, predicts what is not predicted yet, measures losses.

    Args:
        sources: folders of runs, or one COCO results file.
        folder: for detections that do not stay in memory.
        data: ground truth of a results file.
        format: of ``data``; None: recognised by content.
        split: ``train`` or ``val`` of a run; the name of a split of ``data``.
        weights: checkpoints of the run; empty: the best one for detections, all kept ones for losses.
        losses: whether to measure the losses of objects with the runs' checkpoints.
        device: where the models run; None: the runs' own.
    Raises:
        SegkitError: a source is neither a run nor a results file, options do not belong together, or something cannot be
            read.
    """
    if len(sources) == 1 and Path(sources[0]).suffix.lower() == ".json":
        return _of_results(sources[0], data, format, split, weights)
    for name, value in (("--data", data), ("--format", format)):
        if value is not None:
            raise SegkitError(
                f"{name} belongs to a results file (RESULTS.json); a run has its own data, of which --split chooses a part",
                key=name.strip("-"),
            )
    if weights and len(sources) > 1:
        raise SegkitError(f"--weights names checkpoints of one run, and {len(sources)} are given", key="weights")
    runs: list[FinishedRun] = []
    tables: list[dict[int, np.ndarray]] = []
    notes: list[str] = []
    for number, source in enumerate(sources):
        run, opened = _detections(source, split, weights, device, folder / f"detections_{number}.jsonl", notes)
        if runs and list(run.dataset.image_ids) != list(runs[0].dataset.image_ids):
            raise SegkitError(
                f"{run.path} and {runs[0].path} have other images in their split {split}, so their detections cannot be "
                "compared; name runs on the same data"
            )
        runs.append(run)
        table = _losses(run, opened, split, weights, device, notes) if losses else None
        tables += [] if table is None else [table]
    if any(table[key].shape[1] != tables[0][key].shape[1] for table in tables for key in tables[0]):
        raise SegkitError(f"the runs {', '.join(sources)} have other annotations of the same images", key="sources")
    joint = {key: np.concatenate([table[key] for table in tables]) for key in tables[0]} if tables else None
    return Models(runs, [_overlaps(run) for run in runs], joint, split, notes)


def _of_results(source: str, data: str | None, format: str | None, split: str, weights: Sequence[str]) -> Models:
    """The model of a results file."""
    if weights:
        raise SegkitError("--weights belongs to a run; a results file is evaluated as it is", key="weights")
    if data is None:
        raise SegkitError(f"{source} is a results file; name its annotations with --data DATA", key="data")
    path = local_path(source, "results file", kind="file")
    opened = open_data(data, format)
    if split == "val" and len(opened.splits) == 1:
        split = next(iter(opened.splits))
    run = finished_run(path.stem, path, opened.split(split, data), class_agnostic=opened.class_agnostic)
    notes = [f"detections: {path}", "losses are not measured: a results file has no checkpoints"]
    return Models([run], [_overlaps(run)], None, split, notes)


def _detections(
    source: str, split: str, weights: Sequence[str], device: str | None, results: Path, notes: list[str]
) -> tuple[FinishedRun, RunSplit | None]:
    """The detections of a run, and its model if that was needed for them."""
    folder = local_path(source, "run", kind="folder")
    if split == "val" and not weights and (folder / "inference" / RESULTS_NAME).is_file():
        notes.append(f"detections: {folder / 'inference' / RESULTS_NAME}")
        return open_finished_run(folder), None
    opened = open_run_split(folder, split, device)
    chosen = Path(weights[-1]) if weights else best_checkpoint(folder)
    notes.append(f"detections: of the {split} images, with {chosen}")
    return opened.predict(chosen, results, progress), opened


def _losses(
    run: FinishedRun,
    opened: RunSplit | None,
    split: str,
    weights: Sequence[str],
    device: str | None,
    notes: list[str],
) -> dict[int, np.ndarray] | None:
    """The losses of the objects with a run's checkpoints; None without any."""
    checkpoints = [Path(path) for path in weights]
    if not checkpoints:
        try:
            checkpoints = kept_checkpoints(run.path)
        except SegkitError as error:  # the detections need no checkpoint
            notes.append(f"losses are not measured: {error}")
            return None
    opened = opened or open_run_split(run.path, split, device)
    table, unknown = measure_object_losses(opened, checkpoints, progress)
    notes.append(f"losses: with {', '.join(path.name for path in checkpoints)}")
    if unknown:
        notes.append(
            f"{unknown} images have objects whose loss is unknown, because none of them is kept by the transforms"
        )
    return table


def _overlaps(run: FinishedRun) -> DatasetOverlaps:
    """The overlaps of a run, with the model's limit of detections in place of the number it reached.

    Of a results file the limit is not known: one image alone with the most detections has not reached it.
    """
    data = run.overlaps()
    limit = ModelSettings.from_config(run.config).detections_per_image
    if limit is None:
        counts = Counter(len(image.scores) for image in data.images)
        most = max(counts, default=0)
        limit = most if counts[most] > 1 and most > 1 else most + 1
    return dataclasses.replace(data, max_detections=limit)


def require_images(dataset: Dataset, path: object) -> None:
    """Raises SegkitError if there is nothing to look at."""
    if not len(dataset):
        raise SegkitError(f"{path}: the data set has no images ({dataset.describe()})")
