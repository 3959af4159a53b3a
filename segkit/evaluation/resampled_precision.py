"""AP and recall of many resamples of the images, from detections that are matched once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from segkit.evaluation.greedy_matching import Matches
from segkit.evaluation.image_overlaps import DatasetOverlaps
from segkit.evaluation.precision import RECALLS

BLOCK = 1_500_000  # detections times resamples that a thread works on at a time; all its arrays together are 40 MB


@dataclass(frozen=True)
class RankedDetections:
    """The D detections of one class, ordered by falling score; equal scores in the order of images and detections.

    Attributes:
        images: int64 [D], position of each detection's image.
        true: bool [T, D], true positives at T IoU thresholds.
        false: bool [T, D], false positives.
        objects: int64 [I], the number of objects in each image.
    """

    images: np.ndarray
    true: np.ndarray
    false: np.ndarray
    objects: np.ndarray


def rank_detections(data: DatasetOverlaps, matches: Sequence[Matches]) -> list[RankedDetections]:
    """Returns the ranked detections of each class.

    Args:
        data: the overlaps of at least one image.
        matches: of each image, with any range of areas and any thresholds.
    """
    count = len(data.images)
    labels = np.concatenate([image.labels for image in data.images])
    scores = np.concatenate([image.scores for image in data.images])
    images = np.repeat(np.arange(count), [len(image.labels) for image in data.images])
    true = np.concatenate([one.true_positives for one in matches], axis=1)
    false = np.concatenate([one.false_positives for one in matches], axis=1)
    kept = [image.object_labels[~one.ignored_objects] for image, one in zip(data.images, matches, strict=True)]
    object_labels, object_images = np.concatenate(kept), np.repeat(np.arange(count), [len(one) for one in kept])
    ranked = []
    for label in range(len(data.classes)):
        own = np.flatnonzero((labels == label) & (true | false).any(axis=0))
        own = own[np.argsort(-scores[own], kind="stable")]
        objects = np.bincount(object_images[object_labels == label], minlength=count)
        ranked.append(RankedDetections(images[own], true[:, own], false[:, own], objects))
    return ranked


def resampled_precisions(
    ranked: Sequence[RankedDetections], counts: np.ndarray, *, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the AP and the highest recall of each resample: float64 [R, T, K] each.

    Both are NaN where a resample has no object of the class. Nothing is matched again: an image that a resample holds n
    times counts n times in the cumulative sums of true and false positives. This is the AP
    (:func:`~segkit.evaluation.precision.interpolated_precision`) of a data set in which each detection's copies follow it
    directly. So the order between equal scores stays: by image, then by detection.

    Precision is computed at true positives only, since it falls from there to the next one. The sums are whole numbers, so
    the result does not depend on the number of threads.

    Args:
        ranked: detections of K classes, with T thresholds.
        counts: int [R, I], how many times each resample holds each image.
        threads: None: one for each processor of this process.
    """
    counts = counts.astype(np.min_scalar_type(int(counts.max(initial=0))))
    thresholds = len(ranked[0].true) if ranked else 0
    aps = np.full((len(counts), thresholds, len(ranked)), np.nan)
    recalls = aps.copy()

    def work(label: int, rows: slice) -> None:
        aps[rows, :, label], recalls[rows, :, label] = _block(ranked[label], counts[rows])

    with ThreadPoolExecutor(threads or available_processors()) as pool:
        tasks = []
        for label, one in enumerate(ranked):
            step = max(1, BLOCK // max(len(one.images), 1))
            for start in range(0, len(counts), step):
                tasks.append(pool.submit(work, label, slice(start, start + step)))
        for task in tasks:
            task.result()
    return aps, recalls


def available_processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _block(ranked: RankedDetections, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AP and highest recall of one class in some resamples: float64 [R, T] each."""
    rows, thresholds = len(counts), len(ranked.true)
    objects = counts.astype(np.int64) @ ranked.objects
    aps, recalls = (np.zeros((rows, thresholds)) for _ in range(2))
    needed = _needed(objects)
    weights = np.take(counts, ranked.images, axis=1)
    counted, columns, sums = None, np.zeros(0, np.int64), np.zeros((rows, 0), np.int32)
    for t in range(thresholds):
        true, now = ranked.true[t], ranked.true[t] | ranked.false[t]
        if not true.any():
            continue
        if counted is None or (now != counted).any():
            counted, columns = now, np.cumsum(now) - 1
            sums = np.cumsum(weights if now.all() else weights[:, now], axis=1, dtype=np.int32)
        positions = np.flatnonzero(true)
        found = np.cumsum(np.take(weights, positions, axis=1), axis=1, dtype=np.int32)
        precision = np.zeros((rows, len(positions) + 1))  # the last column: a recall that is not reached
        np.divide(found, np.take(sums, columns[positions], axis=1) + np.spacing(1), out=precision[:, :-1])
        starts = torch.searchsorted(torch.from_numpy(found), torch.from_numpy(needed)).numpy()
        starts += np.arange(rows)[:, None] * (len(positions) + 1)
        # The largest precision between one recall and the next. reduceat's value for an empty interval is the first one of
        # the next interval, which counts for this recall too.
        largest = np.maximum.reduceat(precision.ravel(), starts.ravel()).reshape(starts.shape)
        aps[:, t] = np.ascontiguousarray(np.maximum.accumulate(largest[:, ::-1], axis=1)[:, ::-1]).mean(axis=1)
        recalls[:, t] = found[:, -1] / np.maximum(objects, 1)
    aps[objects == 0] = recalls[objects == 0] = np.nan
    return aps, recalls


def _needed(objects: np.ndarray) -> np.ndarray:
    """The fewest true positives that reach each of the 101 recalls, as quotients of doubles: int32 [R, 101]."""
    whole = np.maximum(objects, 1)[:, None].astype(np.float64)
    needed = np.ceil(RECALLS * whole)
    needed -= (needed - 1) / whole >= RECALLS
    needed += needed / whole < RECALLS
    return needed.astype(np.int32)
