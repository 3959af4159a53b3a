"""Bootstrap intervals over images of the metrics of an evaluation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from segkit.evaluation.cell_counts import CellCounts
from segkit.evaluation.coco_matching import COCO_AREAS
from segkit.evaluation.greedy_matching import ANY_AREA, match_detections
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.evaluation.intervals import Interval
from segkit.evaluation.operating_point import DetectionCounts, count_detections
from segkit.evaluation.overlaps import has_scipy
from segkit.evaluation.precision import COCO_IOUS, IOU_50, IOU_75
from segkit.evaluation.resampled_cells import cell_counts_by_image, resampled_cells
from segkit.evaluation.resampled_precision import RankedDetections, rank_detections, resampled_precisions
from segkit.evaluation.resampling import resample_counts
from segkit.utils.errors import MissingPackage, SegkitError

logger = logging.getLogger(__name__)

SIZES = {"APs": COCO_AREAS["small"], "APm": COCO_AREAS["medium"], "APl": COCO_AREAS["large"]}


def bootstrap_intervals(
    data: DatasetOverlaps,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    score_threshold: float | None = None,
    cells_threshold: float | None = 0.5,
    threads: int | None = None,
) -> dict[str, Interval]:
    """Returns each metric with its percentile bootstrap interval over images.

    Images are drawn with replacement, as many as there are; the ends of the interval are quantiles of the metric over the
    resamples (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13). It covers what another draw of as
    many images of the same kind would change, and objects of one image are never taken for independent. It does not cover
    another training with another seed, images of another kind, or errors of the annotation. With few images (under about
    30), and for metrics of a few objects, it is too narrow. A score threshold that is chosen as the best on the same images
    stays the same in all resamples, so its F1 is somewhat too high.

    A metric that a resample lacks, because it has no such object, counts in the other resamples only. A metric that the
    whole data lack is absent. The result depends on the data and the arguments only, not on the number of threads.

    Args:
        data: the overlaps of all images.
        resamples: number of resamples.
        seed: of the resamples, 0 or more.
        level: the share of resamples between the ends, as 0.95.
        score_threshold: of F1, precision and recall at IoU 0.5; None: the one of the best F1 on the data.
        cells_threshold: score threshold of the metrics of cells, as the evaluator's; None: without them. Boxes have none.
        threads: None: one for each processor.
    Returns:
        ``segm/AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, ``AR``, ``F1``, ``precision``, ``recall``; with several
        classes ``segm/AP-NAME``; then ``cells/...`` as of the evaluator Cells. Boxes: ``bbox/...``.
    Raises:
        SegkitError: an argument out of range; SciPy is not installed, which the metrics of cells need.
    """
    check_level(level)
    counts = resample_counts(len(data.images), resamples, seed)
    metrics = resampled_metrics(
        prepare(data, score_threshold=score_threshold, cells_threshold=cells_threshold), counts, threads=threads
    )
    return {name: interval(values[0], values[1:], level) for name, values in metrics.items()}


@dataclass(frozen=True)
class PreparedMetrics:
    """What the metrics of resamples are computed from: matches, made once.

    Attributes:
        data: the overlaps.
        ranked: ranked detections of each class, by range of areas: ``AP`` for all objects, ``APs``, ``APm``, ``APl``.
        detections: counts at IoU 0.5 and one score threshold.
        cells: counts by image and label; None without metrics of cells.
    """

    data: DatasetOverlaps
    ranked: Mapping[str, Sequence[RankedDetections]]
    detections: DetectionCounts
    cells: Sequence[Mapping[int, CellCounts]] | None = field(default=None, repr=False)


def prepare(
    data: DatasetOverlaps, *, score_threshold: float | None = None, cells_threshold: float | None = 0.5
) -> PreparedMetrics:
    """Matches detections once, for all resamples.

    The arguments are those of :func:`bootstrap_intervals`.
    """
    for name, value in (("score_threshold", score_threshold), ("cells_threshold", cells_threshold)):
        if value is not None and not 0 <= value <= 1:
            raise SegkitError(f"{name}: expected 0..1, got {value}", key=name, value=value)
    matches = {
        name: [
            match_detections(image, COCO_IOUS, area_range=area_range, max_detections=data.max_detections)
            for image in data.images
        ]
        for name, area_range in {"AP": ANY_AREA, **SIZES}.items()
    }
    detections = count_detections(data, matches["AP"], IOU_50, score_threshold)
    ranked = {name: rank_detections(data, found) for name, found in matches.items()} if data.images else {}
    cells = None
    if cells_threshold is not None and data.iou_type == "segm":
        if not has_scipy():
            raise MissingPackage("the metrics of cells need SciPy: pip install 'segkit[cells]'")
        cells = cell_counts_by_image(data, cells_threshold)
    return PreparedMetrics(data, ranked, detections, cells)


def resampled_metrics(
    prepared: PreparedMetrics, counts: np.ndarray, *, threads: int | None = None
) -> dict[str, np.ndarray]:
    """Returns each metric of the whole data and of each resample: float64 [1 + R] by name.

    The first value is that of the whole data; metrics that it lacks are absent. NaN where a resample lacks the metric.

    Args:
        prepared: the matches.
        counts: int [R, I], how many times each resample holds each image.
        threads: None: one for each processor.
    """
    data = prepared.data
    counts = np.concatenate([np.ones((1, len(data.images)), counts.dtype), counts])
    metrics: dict[str, np.ndarray] = {}
    of_class: dict[str, np.ndarray] = {}
    recall = np.zeros(0)
    for name, ranked in prepared.ranked.items():
        aps, recalls = resampled_precisions(ranked, counts, threads=threads)
        metrics[name] = _mean(aps)
        if name == "AP":
            metrics |= {"AP50": _mean(aps[:, [IOU_50]]), "AP75": _mean(aps[:, [IOU_75]])}
            recall = _mean(recalls)
            if len(data.classes) > 1:
                of_class = {f"AP-{label}": _mean(aps[:, :, [k]]) for k, label in enumerate(data.classes)}
    if prepared.ranked:
        metrics |= {"AR": recall, **prepared.detections.resampled(counts), **of_class}
    metrics = {f"{data.iou_type}/{name}": values for name, values in metrics.items()}
    if prepared.cells is not None:
        metrics |= resampled_cells(prepared.cells, data.classes, counts)
    return {name: values for name, values in metrics.items() if not np.isnan(values[0])}


def interval(value: float, samples: np.ndarray, level: float) -> Interval:
    """Makes the percentile interval of a metric from its resamples [R] that are not NaN."""
    known = samples[~np.isnan(samples)]
    if not len(known):
        known = np.array([value])
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high), level)


def check_level(level: float) -> None:
    """Raises SegkitError unless the level is between 0 and 1."""
    if not 0 < level < 1:
        raise SegkitError(f"level: expected a share between 0 and 1, as 0.95, got {level}", key="level", value=level)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over all axes but the first, without NaN; NaN if all are: [R]."""
    flat = values.reshape(len(values), -1)
    known = ~np.isnan(flat)
    total = np.where(known, flat, 0.0).sum(axis=1)
    return np.divide(total, known.sum(axis=1), out=np.full(len(flat), np.nan), where=known.any(axis=1))
