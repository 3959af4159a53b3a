"""Which images and objects a gallery shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from segkit.diagnosis.findings import Example
from segkit.engine.finished_run import FinishedRun
from segkit.evaluation.average_precision import average_precisions, mean_ap
from segkit.evaluation.greedy_matching import match_detections
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps

IOU_THRESHOLD = 0.5  # from which a detection and an object of its class are a match


@dataclass(frozen=True)
class GalleryGroup:
    """Pictures under a title.

    Attributes:
        title: for people.
        text: a sentence below the title; may be empty.
        items: ids of whole images, or examples, which are shown as crops around their object and detection.
        id: anchor on the page, for links; empty without.
    """

    title: str
    text: str
    items: Sequence[Example] | Sequence[int]
    id: str = ""


@dataclass(frozen=True)
class ImageScore:
    """How good the detections of an image are.

    Attributes:
        image_id: the file's id.
        f1: 2 TP / (2 TP + FP + FN) of the detections from the score threshold, at IoU 0.5; None for an image without
            objects and such detections.
        ap: AP at IoU 0.5 of all detections of the image, the mean over the classes of its objects; None without objects.
    """

    image_id: int
    f1: float | None
    ap: float | None


def is_examples(items: Sequence[Example] | Sequence[int]) -> TypeGuard[Sequence[Example]]:
    """Whether the items are examples, and not ids of images."""
    return len(items) > 0 and isinstance(items[0], Example)


def image_score(image: ImageOverlaps, classes: Sequence[str], score_threshold: float) -> ImageScore:
    """Computes the score of an image, from which its best and worst are chosen."""
    matches = match_detections(image, [IOU_THRESHOLD])
    shown = image.scores >= score_threshold
    true = int((matches.true_positives[0] & shown).sum())
    false = int((matches.false_positives[0] & shown).sum())
    count = 2 * true + false + len(image.object_ids) - true
    alone = DatasetOverlaps([image], classes, "segm", max(len(image.scores), 1))
    ap = mean_ap(average_precisions(alone, [IOU_THRESHOLD], matches=[matches]))
    return ImageScore(image.image_id, 2 * true / count if count else None, ap)


def image_groups(run: FinishedRun, count: int, *, score_threshold: float = 0.5, seed: int = 0) -> list[GalleryGroup]:
    """Chooses the worst, the best and random images of a run.

    The score of an image is its F1 at IoU 0.5 and the score threshold; of equal ones, the AP at IoU 0.5 of the image
    decides, then the number of its objects (more of them make a worse or a better image), then the order of the data.
    Images without objects and detections are neither among the worst nor among the best. An image is not among both.

    Args:
        run: the run; of several, the one whose order is to be seen.
        count: images in a group at most.
        score_threshold: detections below it do not count for F1.
        seed: of the random images, which may be among the worst and the best.
    """
    data = run.overlaps()
    sizes = {image.image_id: len(image.object_ids) for image in data.images}
    scores = [image_score(image, data.classes, score_threshold) for image in data.images]
    ranked = [(one.f1, one.ap if one.ap is not None else one.f1, one.image_id) for one in scores if one.f1 is not None]
    worst = sorted(ranked, key=lambda row: (row[0], row[1], -sizes[row[2]]))
    best = sorted(ranked, key=lambda row: (-row[0], -row[1], -sizes[row[2]]))
    low = [image_id for *_, image_id in worst[: min(count, (len(worst) + 1) // 2)]]
    high = [image_id for *_, image_id in best if image_id not in low][:count]
    ids = [image.image_id for image in data.images]
    drawn = np.random.default_rng(seed).choice(len(ids), min(count, len(ids)), replace=False).tolist()
    order = f"by F1 at IoU {IOU_THRESHOLD} and score threshold {score_threshold:g}"
    groups = [
        GalleryGroup("Worst images", f"The lowest first, {order}.", low),
        GalleryGroup("Best images", f"The highest first, {order}.", high),
        GalleryGroup("Random images", "Drawn once, the same for every run on these images.", [ids[i] for i in drawn]),
    ]
    return [group for group in groups if group.items]
