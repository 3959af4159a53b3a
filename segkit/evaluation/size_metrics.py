"""AP and AR of all objects and by size, which the evaluators on overlaps share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from segkit.evaluation.average_precision import mean_ap, precisions_and_recalls
from segkit.evaluation.greedy_matching import ANY_AREA
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.evaluation.precision import IOU_50, IOU_75

# COCO's ranges of areas in pixels, both ends included (pycocotools' Params).
SIZES = {"s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, ANY_AREA[1])}


def size_metrics(data: DatasetOverlaps) -> tuple[dict[str, float | None], np.ndarray]:
    """Returns AP and AR at COCO's IoUs, of all objects and by size, and the APs by class.

    ``AP`` is the mean of the interpolated precision over recalls 0, 0.01, ..., 1, IoUs 0.5, 0.55, ..., 0.95 and classes;
    ``AR`` the mean of the highest recall over IoUs and classes (Lin et al. 2014, Microsoft COCO).

    Returns:
        ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``, ``AR``, ``ARs``, ``ARm`` and ``ARl``, None without such
        objects; and float64 [10, K], NaN for a class without objects.
    """
    precision, recalls = precisions_and_recalls(data)
    aps = precision.mean(axis=-1)
    metrics = {"AP": mean_ap(aps), "AP50": mean_ap(aps[IOU_50]), "AP75": mean_ap(aps[IOU_75])}
    by_size = {name: precisions_and_recalls(data, area_range=area) for name, area in SIZES.items()}
    metrics |= {f"AP{name}": mean_ap(found.mean(axis=-1)) for name, (found, _) in by_size.items()}
    metrics |= {"AR": mean_ap(recalls), **{f"AR{name}": mean_ap(found) for name, (_, found) in by_size.items()}}
    return metrics, aps


SIZE_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR", "ARs", "ARm", "ARl")


def class_metric_names(classes: Iterable[str]) -> list[str]:
    """Returns the names of :func:`class_metrics`."""
    return [f"{ap}-{name}" for name in classes for ap in ("AP", "AP50", "AP75")]


def class_metrics(aps: np.ndarray, classes: Iterable[str]) -> dict[str, float | None]:
    """Returns ``AP-NAME``, ``AP50-NAME`` and ``AP75-NAME`` of APs [10, K]; None without objects."""
    values = [mean_ap(part) for own in aps.T for part in (own, own[[IOU_50]], own[[IOU_75]])]
    return dict(zip(class_metric_names(classes), values, strict=True))


def known(prefix: str, metrics: dict[str, float | None]) -> dict[str, float]:
    """Returns the metrics that have a value, as ``prefix/NAME``."""
    return {f"{prefix}/{name}": value for name, value in metrics.items() if value is not None}
