"""Transforms that follow from what the images are: orientation, polarity, exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from segkit.dataset_tools.stats.intensities import Appearance, Intensities
from segkit.dataset_tools.stats.measure import DatasetStats

ENOUGH_IMAGES = 8  # for a judgement from statistics
ENOUGH_OBJECTS = 50
TOP_LIGHT = 0.2  # standard deviations: upper halves of upright scenes are lighter (sky, lamps)
LOG_ASPECT = 0.1  # of the median height / width
CENTER = 0.05  # of the image's height, the mean object's distance from the middle
POLARITY = 0.85  # share of the images in which the objects' contrast agrees with the image's median
EACH_POLARITY = 0.02  # share of the images that each polarity has at least
EXPOSURE = 1.5  # ratio of intensity ranges (90th to 10th percentile)


@dataclass(frozen=True)
class Orientation:
    """Whether images and objects look alike in every orientation.

    Attributes:
        free: all flips and quarter turns are as good as the original.
        reason: the evidence.
    """

    free: bool
    reason: str


def judge_orientation(stats: DatasetStats) -> Orientation:
    """Judges from the images' statistics; from the kind of their files if there are too few."""
    objects, look, files = stats.objects, stats.appearance, stats.intensities
    if len(look) < ENOUGH_IMAGES or len(objects) < ENOUGH_OBJECTS:
        instrument = not files.is_8_bit or any(number not in (1, 3, 4) for number in files.channels)
        grey = bool(len(look)) and bool(look.grey.all())
        few = "1 image is" if len(look) == 1 else f"{len(look)} images are"
        text = f"{few} too few to judge the orientation by statistics"
        if look.skipped:
            text += f" ({look.skipped} more are too large to be looked at)"
        if instrument:
            return Orientation(True, f"{text}; samples of more than 8 bits or many channels are an instrument's.")
        if grey and np.abs(np.nan_to_num(look.top_light)).max() < 1:
            return Orientation(True, f"{text}; they are grey, and neither half is much lighter.")
        return Orientation(False, f"{text}: images stay upright.")
    light, error = _mean_and_error(look.top_light)
    aspect = float(np.median(np.log(objects.aspect)))
    counts = np.bincount(objects.image)
    centers = np.bincount(objects.image, objects.center_y)[counts > 0] / counts[counts > 0]
    center = float(centers.mean()) - 0.5
    signs = []
    if abs(light) + error > TOP_LIGHT:
        signs.append(f"the {'upper' if light > 0 else 'lower'} half is lighter ({light:+.2f} deviations)")
    if abs(aspect) > LOG_ASPECT:
        shape = "taller than wide" if aspect > 0 else "wider than tall"
        signs.append(f"objects are {shape} (by {np.exp(abs(aspect)):.2f})")
    if abs(center) > CENTER:
        place = "below" if center > 0 else "above"
        signs.append(f"objects are {place} the middle (by {100 * abs(center):.0f} % of the height)")
    if signs:
        return Orientation(False, f"Images stay upright: {', '.join(signs)}.")
    return Orientation(
        True,
        f"The images do not tell up from down: neither half is lighter ({light:+.2f} deviations), objects are as often tall "
        f"as wide (median height / width {np.exp(aspect):.2f}), and lie as often above as below the middle.",
    )


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / np.sqrt(len(values)))


def mixed_polarity(look: Appearance, free: bool) -> str | None:
    """Why images with a light background are inverted; None: they are not.

    The images are inverted by their median, so each object's contrast has to agree with it: lighter objects in dark images,
    darker ones in light images, and both kinds occur.
    """
    known = ~np.isnan(look.contrast)
    if not free or known.sum() < ENOUGH_IMAGES:
        return None
    light = look.median[known] > 0.5
    contrast = look.contrast[known]
    share = float(light.mean())
    if not EACH_POLARITY <= share <= 1 - EACH_POLARITY:
        return None
    agree = [float((contrast[~light] > 0).mean()), float((contrast[light] < 0).mean())]
    if min(agree) < POLARITY:
        return None
    return (
        f"{100 * share:.0f} % of the images have dark objects on a light background, the others light objects on a dark "
        "one: the former are inverted."
    )


def varied_exposure(look: Appearance) -> str | None:
    """Why the contrast of each image is stretched; None: it is not."""
    ranges = look.high - look.low
    if len(look) < 2 or np.percentile(ranges, 10) <= 0:
        return None
    few, many = (float(v) for v in np.percentile(ranges, (10, 90)))
    if many < EXPOSURE * few:
        return None
    return f"The images' intensity ranges differ by {many / few:.2g} times: each is stretched to the full range."


def choose_intensity(found: Intensities) -> tuple[dict[str, Any], str]:
    """``data.intensity`` for images of which some have more than 8 bits, and the reason."""
    bits = f"Samples have up to {max(found.bits)} bits"
    if min(found.bits) <= 8:
        return {"name": "percentile", "stretch_8_bit": True}, (
            f"{bits}, those of some images 8: each image is scaled by its own percentiles."
        )
    few, many = (float(v) for v in np.percentile(found.ranges, (10, 90)))
    if few > 0 and len(found.ranges) > 1 and many < EXPOSURE * few:
        return {"name": "dataset_percentile"}, (
            f"{bits}, and the images have one exposure (their ranges differ by {many / few:.3g} times): one scale for all."
        )
    return {"name": "percentile"}, f"{bits}; each image is scaled by its own percentiles."
