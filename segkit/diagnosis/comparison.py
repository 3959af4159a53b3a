"""Paired bootstrap comparison of runs over the same images, and over seeds."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from segkit.diagnosis.same_images import check_same_images
from segkit.evaluation.bootstrap import check_level, interval, prepare, resampled_metrics
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.evaluation.intervals import Interval
from segkit.evaluation.resampling import resample_counts
from segkit.utils.errors import SegkitError, did_you_mean

logger = logging.getLogger(__name__)
LOWER_IS_BETTER = ("split", "merged", "missed", "spurious", "count_error")
SEED_STEP = 1 << 32  # between the seeds of the resamples of images and of each group's runs


@dataclass(frozen=True)
class RunGroup:
    """The evaluated runs of one configuration, which differ in their seeds only.

    Attributes:
        name: for tables and sentences.
        runs: overlaps of each run, by its name.
    """

    name: str
    runs: Mapping[str, DatasetOverlaps]


@dataclass(frozen=True)
class Difference:
    """The difference of a metric between two groups: the second minus the first.

    Attributes:
        metric: as ``segm/AP``.
        first: name of the group that the second is compared with.
        second: name of the other group.
        interval: the difference with its paired bootstrap interval, in 0..1 as the metric.
        share_above: share of the resamples in which the difference is above 0; half of those in which it is 0 count.
        p_value: two-sided, ``2 min(n(d <= 0) + 1, n(d >= 0) + 1) / (R + 1)``, at most 1 (Efron and Tibshirani 1993,
            chapter 15; the 1 keeps it above 0, Davison and Hinkley 1997, equation 4.11).
        adjusted_p: corrected for the number of pairs that are compared (Holm 1979); the same for a single pair.
        images: number of images.
    """

    metric: str
    first: str
    second: str
    interval: Interval
    share_above: float
    p_value: float
    adjusted_p: float
    images: int

    @property
    def is_shown(self) -> bool:
        """Whether 0 is outside of the interval and the corrected p-value is small enough."""
        return not self.interval.low <= 0 <= self.interval.high and self.adjusted_p <= 1 - self.interval.level

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` (the second group), ``same``, or ``no difference shown``."""
        if self.interval.value == self.interval.low == self.interval.high == 0:
            return "same"
        if not self.is_shown:
            return "no difference shown"
        return "better" if (self.interval.value > 0) != lower_is_better(self.metric) else "worse"

    @property
    def sentence(self) -> str:
        """What the comparison shows, in plain words, times 100."""
        one = self.interval
        digits = 1 if one.high - one.low >= 0.005 else 2
        value, low, high = (f"{round(100 * x, digits) + 0.0:.{digits}f}" for x in (one.value, one.low, one.high))
        level = f"{100 * one.level:g} % interval"
        pair = f"{self.second} is {self.verdict} than {self.first}"
        if self.verdict == "same":
            return f"{self.second} and {self.first} have the same {self.metric} in each resample of the {self.images} images"
        if self.is_shown and lower_is_better(self.metric):
            amount = f"its {self.metric} is {value.lstrip('-')} {'lower' if one.value < 0 else 'higher'}"
            return f"{pair}: {amount} ({level} of the difference {low} to {high})"
        if self.is_shown:
            ends = (low, high) if one.value > 0 else (high.lstrip("-"), low.lstrip("-"))
            return f"{pair} by {value.lstrip('-')} {self.metric} ({level} {ends[0]} to {ends[1]})"
        unseen = f"{50 * (one.high - one.low):.{digits}f}"
        return (
            f"no difference shown: {self.second} has {'+' if one.value >= 0 else ''}{value} {self.metric} over {self.first} "
            f"({level} {low} to {high}); with {self.images} images a difference under {unseen} cannot be seen"
        )


@dataclass(frozen=True)
class ImageScores:
    """The F1 of each group on one image, at IoU 0.5: the mean over the group's runs.

    It is 1 without objects and detections.
    """

    image_id: int
    objects: int
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """The comparison of two or more groups.

    Attributes:
        groups: their names.
        seeds: number of runs in each.
        metrics: each metric with its interval in each group.
        differences: by metric and pair.
        images: all images, in the order of their ids.
        resamples: number of resamples.
    """

    groups: tuple[str, ...]
    seeds: tuple[int, ...]
    metrics: Mapping[str, tuple[Interval, ...]]
    differences: tuple[Difference, ...]
    images: tuple[ImageScores, ...]
    resamples: int


def compare_runs(
    groups: Sequence[RunGroup],
    *,
    metrics: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    score_threshold: float | None = None,
    cells_threshold: float | None = 0.5,
    all_pairs: bool = False,
    threads: int | None = None,
) -> Comparison:
    """Compares groups of runs on the same images by a paired bootstrap.

    Each resample draws images with replacement, the same ones for all groups, so that what makes an image easy or hard for
    all cancels (Efron and Tibshirani 1993, An Introduction to the Bootstrap; Koehn 2004, for paired comparisons of systems).
    In a group of S > 1 runs it also draws S - 1 of the runs with replacement, for each group by itself, and takes their
    mean; with S - 1 draws the variance of the mean over seeds is right without a correction (Rao and Wu 1988). With one
    run per group, the intervals say nothing about other seeds. With two or three, they are rough.

    Args:
        groups: at least two.
        metrics: names as of :func:`~segkit.evaluation.bootstrap.bootstrap_intervals`, with or without ``segm/``; None: all.
        resamples: number of resamples, at least 2 P / (1 - level) - 1 for P pairs: p-values are no smaller than 2 P / (R + 1).
        seed: of the resamples.
        level: of the intervals.
        score_threshold: of F1, precision and recall; None: each run's own of the best F1.
        cells_threshold: score threshold of the metrics of cells; None: without them.
        all_pairs: compare each group with each other one; else each with the first.
        threads: None: one for each processor.
    Raises:
        SegkitError: fewer than two groups, groups of one name, images or ground truth that differ, an unknown metric.
    """
    check_level(level)
    names = [group.name for group in groups]
    if len(groups) < 2:
        raise SegkitError("a comparison needs two or more runs, got one", key="runs")
    if len(set(names)) < len(names):
        raise SegkitError(f"groups need different names, got {', '.join(names)}", key="runs")
    check_same_images(
        {f"{g.name}: {run}" if len(g.runs) > 1 else g.name: d for g in groups for run, d in g.runs.items()}
    )
    images = next(iter(groups[0].runs.values())).images
    counts = resample_counts(len(images), resamples, seed)
    samples: list[dict[str, np.ndarray]] = []
    scores = []
    for i, group in enumerate(groups):
        prepared = [
            prepare(data, score_threshold=score_threshold, cells_threshold=cells_threshold)
            for data in group.runs.values()
        ]
        of_runs = [resampled_metrics(one, counts, threads=threads) for one in prepared]
        samples.append(_over_seeds(of_runs, resamples, seed + (i + 1) * SEED_STEP))
        scores.append(np.mean([one.detections.image_f1 for one in prepared], axis=0))
    common = [name for name in samples[0] if all(name in one for one in samples)]
    chosen = common if metrics is None else [_find(name, common) for name in metrics]
    pairs = list(combinations(range(len(groups)), 2)) if all_pairs else [(0, i) for i in range(1, len(groups))]
    least = math.ceil(2 * len(pairs) / (1 - level) - 1e-6) - 1
    if resamples < least:
        logger.warning(
            "%d resamples can show no difference at level %g between %d pairs of runs: take at least %d",
            resamples, level, len(pairs), least,
        )  # fmt: skip
    differences: list[Difference] = []
    for metric in dict.fromkeys(chosen):
        differences += _differences(metric, [one[metric] for one in samples], names, pairs, level, len(images))
    return Comparison(
        tuple(names),
        tuple(len(group.runs) for group in groups),
        {m: tuple(interval(float(s[m][0]), s[m][1:], level) for s in samples) for m in dict.fromkeys(chosen)},
        tuple(differences),
        tuple(
            ImageScores(image.image_id, len(image.object_labels), tuple(float(one[i]) for one in scores))
            for i, image in enumerate(images)
        ),
        resamples,
    )


def lower_is_better(metric: str) -> bool:
    """Whether a lower value of the metric is better, as of errors."""
    return metric.rpartition("/")[2] in LOWER_IS_BETTER


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for their number.

    Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _differences(
    metric: str,
    samples: Sequence[np.ndarray],
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    level: float,
    images: int,
) -> list[Difference]:
    """The differences of one metric, their p-values corrected for the number of pairs."""
    found = []
    for first, second in pairs:
        difference = samples[second] - samples[first]
        drawn = difference[1:][~np.isnan(difference[1:])]
        below, above = int((drawn <= 0).sum()), int((drawn >= 0).sum())
        p_value = min(1.0, 2 * (min(below, above) + 1) / (len(drawn) + 1))
        share = ((drawn > 0).sum() + (drawn == 0).sum() / 2) / max(len(drawn), 1)
        ends = interval(float(difference[0]), drawn, level)
        found.append((names[first], names[second], ends, float(share), p_value))
    adjusted = holm([one[-1] for one in found])
    return [Difference(metric, *one, p, images) for one, p in zip(found, adjusted, strict=True)]


def _over_seeds(of_runs: Sequence[Mapping[str, np.ndarray]], resamples: int, seed: int) -> dict[str, np.ndarray]:
    """The mean over a group's runs, of the whole data first, then of resampled runs: [1 + R] by name."""
    count = len(of_runs)
    if count == 1:
        return dict(of_runs[0])
    drawn = resample_counts(count, resamples, seed, draws=count - 1)
    weights = np.concatenate([np.full((1, count), 1 / count), drawn / (count - 1)])
    common = [name for name in of_runs[0] if all(name in one for one in of_runs)]
    return {name: (weights * np.stack([one[name] for one in of_runs], axis=1)).sum(axis=1) for name in common}


def _find(name: str, metrics: Sequence[str]) -> str:
    """The metric of a name, which may lack what is before the slash."""
    for metric in metrics:
        if name in (metric, metric.partition("/")[2]):
            return metric
    valid = metrics if "/" in name else [metric.partition("/")[2] for metric in metrics]
    raise SegkitError(f"there is no metric '{name}'{did_you_mean(name, valid, limit=40)}", key="metric", value=name)
