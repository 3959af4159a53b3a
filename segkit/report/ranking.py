"""Which images a run does worst and best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segkit.evaluation.greedy_matching import match_detections
from segkit.report.analysis import RunAnalysis

IOU = 0.5


@dataclass(frozen=True)
class ImageScore:
    """How good the detections of an image are, at one score threshold and IoU 0.5.

    Attributes:
        image_id: the file's id.
        f1: 2 TP / (2 TP + FP + FN); 1 for an image without objects and detections.
        objects: number of objects.
        wrong: FP + FN.
    """

    image_id: int
    f1: float
    objects: int
    wrong: int


def image_scores(run: RunAnalysis) -> list[ImageScore]:
    """The score of each image, in the order of the data."""
    found = []
    for image in run.data.images:
        kept = image.scores >= run.threshold
        matches = match_detections(image, [IOU], max_detections=run.data.max_detections)
        true = int((matches.true_positives[0] & kept).sum())
        false = int((matches.false_positives[0] & kept).sum())
        objects = len(image.object_labels)
        whole = true + false + objects
        found.append(ImageScore(image.image_id, 2 * true / whole if whole else 1.0, objects, false + objects - true))
    return found


def worst_images(scores: list[ImageScore], count: int) -> list[ImageScore]:
    """Images with errors, the lowest F1 first; of equal ones those with the most errors."""
    return sorted((one for one in scores if one.wrong), key=lambda one: (one.f1, -one.wrong))[:count]


def best_images(scores: list[ImageScore], count: int) -> list[ImageScore]:
    """Images with objects, the highest F1 first; of equal ones those with the most objects."""
    return sorted((one for one in scores if one.objects), key=lambda one: (-one.f1, -one.objects))[:count]


def random_images(scores: list[ImageScore], count: int, seed: int) -> list[ImageScore]:
    """Images drawn without repetition, in the order of the data."""
    chosen = np.random.default_rng(seed).permutation(len(scores))[:count]
    return [scores[i] for i in sorted(chosen.tolist())]
