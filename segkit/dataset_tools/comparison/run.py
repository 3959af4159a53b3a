"""Compares the runs that ``segkit compare`` names."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from segkit.dataset_tools.comparison.runs import OpenedGroup, differing_keys, open_groups
from segkit.dataset_tools.comparison.tables import ComparisonReport, as_text, check_suffix, headline, write_tables
from segkit.diagnosis.comparison import compare_runs
from segkit.evaluation.coco_matching import IouType
from segkit.evaluation.overlaps import has_scipy
from segkit.utils.errors import SegkitError
from segkit.utils.paths import output_file

logger = logging.getLogger(__name__)


def compare(
    runs: Sequence[str],
    *,
    data: str | None = None,
    format: str | None = None,
    split: str | None = None,
    metrics: Sequence[str] | None = None,
    boxes: bool = False,
    separate: bool = False,
    all_pairs: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    score_threshold: float | None = None,
    images: int = 5,
    output: str | None = None,
) -> str:
    """Compares runs; returns the tables as text.

    Args:
        runs, data, format, split, separate: as of :func:`~segkit.dataset_tools.comparison.runs.open_groups`.
        metrics: names of metrics; None: the headline metrics are printed, all are written.
        boxes: compare boxes where there are masks too.
        all_pairs, resamples, seed, level: as of :func:`~segkit.diagnosis.comparison.compare_runs`.
        score_threshold: of F1, precision, recall and the metrics of cells; None: each run's own of the best F1, and 0.5
            for the metrics of cells.
        images: number of images in the table of those that differ the most.
        output: also write a file; the format is that of its suffix.
    Raises:
        SegkitError: as the functions above; an output file of another format, or one that cannot be written.
    """
    if output is not None:
        check_suffix(output_file(output, "--output"))
    groups = open_groups(runs, data=data, format=format, split=split, separate=separate)
    cells: float | None = 0.5 if score_threshold is None else score_threshold
    if not has_scipy():
        logger.warning("the metrics of cells are not compared: SciPy is missing; pip install 'segkit[cells]'")
        cells = None
    kind = _iou_type(groups, boxes=boxes)
    comparison = compare_runs(
        [group.overlaps(kind) for group in groups],
        metrics=metrics,
        resamples=resamples,
        seed=seed,
        level=level,
        score_threshold=score_threshold,
        cells_threshold=cells,
        all_pairs=all_pairs,
    )
    by_name = {group.name: group for group in groups}
    pairs = dict.fromkeys((one.first, one.second) for one in comparison.differences)
    keys = {(first, second): differing_keys(by_name[first], by_name[second]) for first, second in pairs}
    dataset = groups[0].runs[0].dataset
    file_names = {image_id: dataset.open(i).file_name for i, image_id in enumerate(dataset.image_ids)}
    shown = list(comparison.metrics) if metrics is not None else headline(list(comparison.metrics))
    report = ComparisonReport(comparison, keys, file_names, images, shown)
    if output is not None:
        logger.info("written to %s", write_tables(report, Path(output)))
    return as_text(report)


def _iou_type(groups: Sequence[OpenedGroup], *, boxes: bool) -> IouType:
    """Masks if all runs have them; else boxes, which is said."""
    runs = [run for group in groups for run in group.runs]
    without = [run.name for run in runs if not run.has_masks]
    if boxes or len(without) == len(runs):
        return "bbox"
    if empty := [run.name for run in runs if not run.results]:
        logger.warning("%s has no detections at all", ", ".join(empty))
    if bare := [run.name for run in runs if not run.has_masks and run.results]:
        raise SegkitError(f"{bare[0]} has boxes only, other runs have masks: compare the boxes of all with --boxes")
    return "segm"
