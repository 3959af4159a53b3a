"""Metrics of precision and recall by which a score threshold is chosen."""

from __future__ import annotations

import re

import numpy as np

from segkit.utils.errors import SegkitError, did_you_mean

METRICS = ("F1", "F2", "F0.5", "cell_AP", "precision@recall0.9", "recall@precision0.9")
_F_BETA = re.compile(r"F(\d+(?:\.\d+)?)")
_AT_LEAST = re.compile(r"(precision@recall|recall@precision)(\d+(?:\.\d+)?)")


def threshold_metric(metric: str, precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Returns a metric of precision P and recall R at each score threshold: float64 [T].

    - ``F1``, ``F2``, ``F0.5``, any ``F`` and a number b: (1 + b^2) P R / (b^2 P + R); recall weighs b times as much as
      precision (van Rijsbergen 1979, Information Retrieval).
    - ``cell_AP``: TP / (TP + FP + FN) = P R / (P + R - P R), which the cell field calls AP or accuracy (Schmidt et al. 2018,
      Cell Detection with Star-convex Polygons).
    - ``precision@recall0.9``: P where R is at least 0.9, or another number; else NaN.
    - ``recall@precision0.9``: R where P is at least 0.9, or another number; else NaN.
    """
    check_metric(metric)
    if (f_beta := _F_BETA.fullmatch(metric)) is not None:
        square = float(f_beta[1]) ** 2
        return _divided((1 + square) * precision * recall, square * precision + recall)
    if (at_least := _AT_LEAST.fullmatch(metric)) is not None:
        limited, value = (recall, precision) if at_least[1] == "precision@recall" else (precision, recall)
        return np.where(limited >= float(at_least[2]), value, np.nan)
    return _divided(precision * recall, precision + recall - precision * recall)


def check_metric(metric: str) -> None:
    """Raises SegkitError unless :func:`threshold_metric` knows the metric."""
    f_beta, at_least = _F_BETA.fullmatch(str(metric)), _AT_LEAST.fullmatch(str(metric))
    in_range = (f_beta and float(f_beta[1]) > 0) or (at_least and float(at_least[2]) <= 1)
    if not in_range and metric != "cell_AP":
        raise SegkitError(
            f"metric: expected one such as {', '.join(METRICS)}, got {metric!r}{did_you_mean(str(metric), METRICS)}",
            key="metric",
            value=metric,
            choices=METRICS,
        )


def _divided(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The quotients; 0 where ``whole`` is 0."""
    return np.divide(part, whole, out=np.zeros_like(whole, np.float64), where=whole > 0)
