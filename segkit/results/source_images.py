"""What writers of annotation formats need of a predicted image: its objects and its file."""

from __future__ import annotations

import json
import logging
from collections import Counter

from segkit.data.writers.base import WritableImage
from segkit.inference.predicted_image import PredictedImage
from segkit.results.part_files import PartFiles
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.images.lazy_image import LazyImage

logger = logging.getLogger(__name__)


def targets_of(image: PredictedImage) -> Targets:
    """The detections as the objects of an annotated image."""
    found = image.detections
    return Targets(found.boxes, found.labels, found.masks)


def writable(image: PredictedImage, *, link: bool) -> WritableImage:
    """The image as writers of data sets take it, so that its file is copied, linked or written."""
    pixels = image.image.read() if isinstance(image.image, LazyImage) and image.file is None else image.image
    sample = None if image.file is not None else Sample(pixels, targets_of(image), 0, image.name, image.size)  # type: ignore[arg-type]
    return WritableImage(
        f"{image.stem}.png",
        0,
        image.size,
        targets_of(image),
        "train",
        image.file,
        sample,
        link=link,
        planes=image.planes,
    )


class Losses:
    """Counts what a format cannot hold, over all images and processes.

    Args:
        parts: where the counts are kept.
        name: of the writer.
    """

    def __init__(self, parts: PartFiles, name: str) -> None:
        self._parts, self._name = parts, name

    def add(self, image: PredictedImage, losses: Counter[str]) -> None:
        """Keeps the counts of an image."""
        if losses:
            self._parts.append(f"{self._name}_losses", json.dumps([image.name, losses]))

    def report(self) -> None:
        """Logs the sums."""
        total: Counter[str] = Counter()
        for line in self._parts.lines(f"{self._name}_losses"):
            total.update(json.loads(line)[1])
        for what, count in total.items():
            logger.warning("%s: %d: %s", self._name, count, what)
