"""Prediction of many files: reading goes on while the model and the caller work."""

from __future__ import annotations

import functools
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from segkit.inference.frame import Frame, file_of
from segkit.inference.output_files import name_stems
from segkit.inference.predicted_image import PredictedImage
from segkit.utils.errors import SegkitError, UnreadableImage
from segkit.utils.images import ImageReader
from segkit.utils.out_of_memory import is_out_of_memory
from segkit.utils.progress import progress as progress_line

logger = logging.getLogger(__name__)


class PredictsImages(Protocol):
    """A :class:`segkit.Predictor`, or a function from images to their detections.

    Of a predictor, ``reader`` and ``predict_read`` are used, and whether its pipeline reads windows.
    """

    def __call__(self, images: Any, batch_size: int | None = None) -> Any:
        """The detections of each image [C, H, W]."""


@dataclass
class PredictedBatch:
    """What became of some inputs that follow each other.

    Attributes:
        images: the images that went through the network together.
        inputs: how many inputs the batch stands for, with those that could not be read.
        skipped: the files among them that could not be read.
        may_stop: whether a prediction may be continued after it; not within a series, whose tracks go on.
    """

    images: list[PredictedImage] = field(default_factory=list)
    inputs: int = 0
    skipped: list[Path] = field(default_factory=list)
    may_stop: bool = True


def stream(
    predictor: PredictsImages,
    inputs: Mapping[str, Path] | Iterable[str | os.PathLike[str]],
    *,
    batch_size: int = 1,
    readers: int = 2,
    skip_unreadable: bool = False,
    progress: bool = False,
) -> Iterator[PredictedImage]:
    """Yields each file's image with its detections, in order.

    The next files are read by threads while the model works, so that memory is bounded by a few images.

    Args:
        predictor: model, classes and score threshold.
        inputs: paths, or the path of each image by its name.
        batch_size: number of images that go through the network together.
        readers: threads that read; 0: files are read between two batches.
        skip_unreadable: whether images that cannot be read are skipped, with a warning each.
        progress: whether to show a line with the number of images on a terminal.
    Raises:
        SegkitError: an image cannot be read, or the memory is full; the message names the image.
    """
    named = inputs if isinstance(inputs, Mapping) else {Path(path).as_posix(): Path(path) for path in inputs}
    batches = predict_batches(
        predictor,
        named,
        name_stems(named),
        batch_size=batch_size,
        readers=readers,
        skip_unreadable=skip_unreadable,
    )
    found = (image for batch in batches for image in batch.images)
    yield from progress_line(found, len(named), "predicted") if progress else found


def predict_batches(
    predictor: PredictsImages,
    inputs: Mapping[str, Path | Frame],
    stems: Mapping[str, str],
    *,
    batch_size: int = 1,
    readers: int = 2,
    skip_unreadable: bool = False,
) -> Iterator[PredictedBatch]:
    """Yields the predictions of ``batch_size`` readable images at a time, of one series at most.

    Args:
        predictor, inputs, batch_size, readers, skip_unreadable: see :func:`stream`.
        stems: of each image's files, by its name.
    Raises:
        SegkitError: an image cannot be read (those before it are yielded first), or the memory is full.
    """
    batch, opened, ends = PredictedBatch(), list[tuple[str, Any]](), _ends_of_series(inputs)
    unreadable: SegkitError | None = None
    predicted = functools.partial(
        _predicted_or_skipped, predictor, inputs, stems, _reader_of(predictor).planes, skip_unreadable
    )
    for name, path, image in _read_ahead(predictor, inputs, readers, batch_size + readers):
        if isinstance(image, SegkitError):
            if not skip_unreadable:
                unreadable = image
                break
            logger.warning("%s; skipped", image)
            batch.skipped.append(file_of(path))
        else:
            opened.append((name, image))
        batch.inputs += 1
        batch.may_stop = name in ends or not isinstance(inputs[name], Frame)
        if len(opened) == batch_size or name in ends:
            yield predicted(batch, opened)
            batch, opened = PredictedBatch(), []
    if batch.inputs:
        yield predicted(batch, opened)
    if unreadable is not None:
        raise unreadable


def _ends_of_series(inputs: Mapping[str, Any]) -> set[str]:
    """The names of the last frames of all series."""
    last = {source.series: name for name, source in inputs.items() if isinstance(source, Frame)}
    return set(last.values())


def _reader_of(predictor: Any) -> ImageReader:
    """The predictor's reader; a function from tensors to detections has none."""
    return getattr(predictor, "reader", None) or ImageReader()


def _read_ahead(predictor: Any, inputs: Mapping[str, Any], readers: int, ahead: int) -> Iterator[tuple[str, Any, Any]]:
    """Yields each input's name, path and image, or the error in its place, at most ``ahead`` of them read in advance."""
    reader = _reader_of(predictor)
    reads_windows = getattr(getattr(predictor, "pipeline", None), "reads_windows", False)

    def read(source: Path | Frame) -> Any:
        own = replace(reader, planes=source.planes) if isinstance(source, Frame) else reader
        path = file_of(source)
        try:
            if reads_windows and (lazy := own.open_if_large(path)) is not None:
                return lazy
            return own.read(path)
        except SegkitError as error:
            return error

    if readers < 1:
        yield from ((name, path, read(path)) for name, path in inputs.items())
        return
    waiting = iter(inputs.items())
    with ThreadPoolExecutor(readers, thread_name_prefix="segkit-reader") as pool:
        queue: deque[tuple[str, Any, Future[Any]]] = deque()
        try:
            while True:
                queue.extend(
                    (name, path, pool.submit(read, path)) for name, path in islice(waiting, ahead - len(queue))
                )
                if not queue:
                    return
                name, path, future = queue.popleft()
                yield name, path, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _predicted_or_skipped(
    predictor: Any,
    inputs: Mapping[str, Any],
    stems: Mapping[str, str],
    planes: Any,
    skip_unreadable: bool,
    batch: PredictedBatch,
    opened: Sequence[tuple[str, Any]],
) -> PredictedBatch:
    """As :func:`_predicted`; an image that is read by window, and breaks off, may be skipped."""
    try:
        return _predicted(predictor, batch, opened, inputs, stems, planes)
    except UnreadableImage as error:
        if not skip_unreadable:
            raise
        if len(opened) == 1:
            logger.warning("%s; skipped", error)
            batch.skipped.append(file_of(inputs[opened[0][0]]))
            return batch
    for image in opened:
        one = _predicted_or_skipped(predictor, inputs, stems, planes, True, PredictedBatch(), [image])
        batch.images += one.images
        batch.skipped += one.skipped
    return batch


def _predicted(
    predictor: Any,
    batch: PredictedBatch,
    opened: Sequence[tuple[str, Any]],
    inputs: Mapping[str, Any],
    stems: Mapping[str, str],
    planes: Any,
) -> PredictedBatch:
    """Fills a batch with the predictions of its images; errors name them."""
    if not opened:
        return batch
    names = ", ".join(name for name, _ in opened)
    try:
        predict = getattr(predictor, "predict_read", predictor)
        found = predict([image for _, image in opened], batch_size=len(opened))
    except SegkitError as error:
        kind = UnreadableImage if isinstance(error, UnreadableImage) else SegkitError
        shown = str(error) if len(opened) == 1 and names in str(error) else f"{names}: {error}"
        raise kind(shown, key=error.key, value=error.value) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise SegkitError(
            f"{names}: not enough memory for {len(opened)} image{'s' * (len(opened) > 1)} at once; use a smaller batch size, "
            "the CPU, tiles (predict.tile), or smaller images (data.test_transforms)"
        ) from error
    batch.images = [
        _predicted_image(name, stems[name], detections, image, inputs[name], planes)
        for (name, image), detections in zip(opened, found, strict=True)
    ]
    return batch


def _predicted_image(
    name: str, stem: str, detections: Any, image: Any, source: Path | Frame, planes: Any
) -> PredictedImage:
    """An image of a file, or a frame of a series."""
    if isinstance(source, Frame):
        return PredictedImage(
            name, stem, detections, image, source.file, source.planes, series=source.series, frame=source.index
        )
    return PredictedImage(name, stem, detections, image, source, planes)
