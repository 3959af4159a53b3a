"""Predictions for image files, handed one by one to whatever writes them."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from segkit.data.formats.id_map import ImageEntry, check_size
from segkit.inference.predictor import Predictor, image_array
from segkit.utils.errors import SegkitError
from segkit.utils.images import image_size, read_image
from segkit.utils.missing_files import instead

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from segkit.structures.detections import Detections

logger = logging.getLogger(__name__)


class Writer(Protocol):
    """Takes predictions; evaluation and visualization have such writers."""

    def add(self, name: str, image: np.ndarray, detections: Detections) -> None:
        """Take an image's detections; ``image`` is uint8 [H, W, 3]."""

    def close(self) -> list[Path]:
        """Finish, and give what was written."""


@dataclass
class PredictionSummary:
    """What was predicted.

    Attributes:
        images: number of images predicted.
        detections: number of each label.
        images_with: number of images with each label.
        skipped: files that could not be read.
        written: what the writers wrote.
        seconds: for all of it.
    """

    images: int = 0
    detections: Counter[int] = field(default_factory=Counter)
    images_with: Counter[int] = field(default_factory=Counter)
    skipped: list[Path] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    def table(self, classes: Sequence[str]) -> str:
        """A line a class."""
        from tabulate import tabulate

        rows: list[list[object]] = [[n, self.detections[k], self.images_with[k]] for k, n in enumerate(classes)]
        rows.append(["all", self.detections.total(), ""])
        return tabulate(rows, headers=["class", "detections", f"of {self.images} images in"])


def name_inputs(files: Sequence[Path], id_map: Sequence[ImageEntry] = ()) -> dict[str, Path]:
    """A name for each file: that of the id map where it lists the file, else the path as it was given.

    The id map's name matches the end of a file's path: ``a.tif`` or ``folder/a.tif``.

    Raises:
        SegkitError: an image of the id map is missing, two files match the same one, or a file's size differs from it.
    """
    known = {entry.file_name: entry for entry in id_map}
    named: dict[str, Path] = {}
    for path in files:
        ends = ["/".join(path.parts[-n:]) for n in range(len(path.parts), 0, -1)]
        name = next((end for end in ends if end in known), path.as_posix())
        if name in named:
            raise SegkitError(f"both {named[name]} and {path} are '{name}' of the id map; give one of them", value=name)
        named[name] = path
    missing = [name for name in known if name not in named]
    if missing:
        there = instead(missing, [path.as_posix() for path in files])
        raise SegkitError(
            f"{len(missing)} of the {len(known)} images of the id map are not among the inputs: "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}{there}",
            value=missing[0],
        )
    for name, entry in known.items():
        if entry.size is not None:
            check_size(named[name], image_size(named[name]), entry.size, "the id map")
    return named


def predict_files(
    predictor: Predictor,
    inputs: Mapping[str, Path],
    writers: Sequence[Writer],
    *,
    batch_size: int = 1,
    skip_unreadable: bool = False,
) -> PredictionSummary:
    """Predict files in order, a batch at a time, and hand each result to every writer.

    Args:
        predictor: with its classes and threshold.
        inputs: file of each name, as of :func:`name_inputs`.
        writers: closed at the end. Where an image cannot be read, they are closed too before the error is raised: what
            was predicted before is not lost.
        batch_size: images that go through the network together.
        skip_unreadable: leave such images out, with a warning each, instead of raising.
    Raises:
        SegkitError: an image cannot be read; the message names it.
    """
    summary, start = PredictionSummary(), time.perf_counter()
    try:
        for chunk in _chunks(_images(inputs, summary, skip_unreadable), batch_size):
            found = predictor([image for _, image in chunk], batch_size=batch_size)
            for (name, image), detections in zip(chunk, found, strict=True):
                pixels = image_array(image)
                for writer in writers:
                    writer.add(name, pixels, detections)
                labels = detections.labels.tolist()
                summary.images += 1
                summary.detections.update(labels)
                summary.images_with.update(set(labels))
    except SegkitError as error:
        raise SegkitError(f"{error}{_kept(writers, summary)}", value=error.value) from error
    for writer in writers:
        summary.written += writer.close()
    summary.seconds = time.perf_counter() - start
    logger.info("predicted %d images in %.1f s", summary.images, summary.seconds)
    return summary


def _kept(writers: Sequence[Writer], summary: PredictionSummary) -> str:
    """Close the writers after an error; tells what was saved. Those that need all images write nothing."""
    if not summary.images:
        return ""
    written: list[Path] = []
    for writer in writers:
        try:
            written += writer.close()
        except SegkitError as incomplete:
            logger.warning("%s", incomplete)
    places = f" are in {', '.join(map(str, written))}" if written else " were not written"
    return f"; the predictions of the {summary.images} images before it{places}"


def _images(inputs: Mapping[str, Path], summary: PredictionSummary, skip: bool) -> Iterator[tuple[str, Tensor]]:
    for name, path in inputs.items():
        try:
            image = read_image(path)
        except SegkitError as error:
            if not skip:
                raise
            logger.warning("%s; skipped", error)
            summary.skipped.append(path)
            continue
        yield name, image


def _chunks(items: Iterator[tuple[str, Tensor]], size: int) -> Iterator[list[tuple[str, Tensor]]]:
    while chunk := list(islice(items, size)):
        yield chunk
