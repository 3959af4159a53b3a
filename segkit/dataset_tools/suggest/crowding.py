"""Limits on proposals and detections, and the sampler."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from segkit.utils.errors import counted

LEAST_DETECTIONS = 100
STEP = 50
OUTLIER = 1.5  # the limit is not raised for an image with this many times the objects of the 99.9th percentile
RARE = 0.5  # largest share of images of a class for which its images are repeated
THRESHOLD = 0.6  # of RepeatFactorSampler for two classes
LEAST_THRESHOLD = 0.001  # LVIS's, for many classes
VARIED_AREA = 2.0  # ratio of image areas (90th to 10th percentile) from which large images are repeated
AREA_POWER, GENTLE_POWER = 0.75, 0.5
MOST_RATIO = 64.0  # of the largest to the smallest image for the stronger power


def choose_detections(counts: np.ndarray) -> tuple[int, str]:
    """``detections_per_image`` for images with ``counts`` objects, and the reason."""
    most, high = int(counts.max()), float(np.percentile(counts, 99.9))
    covered = most if most <= OUTLIER * high else high
    limit = max(LEAST_DETECTIONS, math.ceil(covered / STEP) * STEP)
    text = f"At most {counted(most, 'object')} an image, 99.9 % of the images have no more than {high:,.0f}"
    return limit, f"{text}; {LEAST_DETECTIONS} is COCO's usual limit." if limit == LEAST_DETECTIONS else f"{text}."


def choose_proposals(detections: int, objects_in_crop: float, cuda: bool) -> tuple[list[int], str]:
    """``[in training, at test]`` of the RPN's top k, and the reason.

    Args:
        detections: detections of an image at most.
        objects_in_crop: objects of a crowded training crop.
        cuda: whether a GPU trains, where proposals cost little.
    """
    training = max(2000 if cuda else 500, math.ceil(4 * objects_in_crop / 100) * 100)
    test = max(1000 if cuda else 500, math.ceil(2.5 * detections / 100) * 100)
    text = f"{test / detections:.3g} proposals for each detection at test; a crowded training crop has about "
    return [training, test], f"{text}{objects_in_crop:.0f} objects."


def choose_sampler(class_images: np.ndarray, images: int, sizes: np.ndarray) -> tuple[dict[str, Any], str] | None:
    """The sampler's spec and the reason; None: every image once an epoch.

    Args:
        class_images: images with each class.
        images: number of images.
        sizes: [M, 2], height and width of the images, of which training sees crops of one size.
    """
    present = class_images[class_images > 0]
    reasons = []
    spec: dict[str, Any] = {"name": "RepeatFactorSampler"}
    share = float(present.min() / images) if len(present) else 1.0
    if len(present) > 1 and share < RARE:
        threshold = round(max(LEAST_THRESHOLD, min(THRESHOLD, 1.2 / len(present))), 3)
        spec["threshold"] = threshold
        if share < threshold:
            reasons.append(
                f"The rarest class is in {100 * share:.2g} % of the images: those of classes in under {100 * threshold:g} % "
                "are repeated."
            )
    areas = sizes.astype(np.float64).prod(1)
    few, many = np.percentile(areas, (10, 90))
    if many > VARIED_AREA * few:
        spec["area_power"] = AREA_POWER if areas.max() <= MOST_RATIO * areas.min() else GENTLE_POWER
        spec.setdefault("threshold", LEAST_THRESHOLD)
        reasons.append(
            f"The areas of the images differ by {many / few:.2g} times: large ones, of which a crop shows little, are "
            "repeated."
        )
    return (spec, " ".join(reasons)) if reasons else None
