"""Prediction of time series with the tracks of their objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from segkit.inference.frame import Frame
from segkit.inference.output_files import name_stems
from segkit.inference.predicted_image import PredictedImage
from segkit.inference.series.frames import find_series
from segkit.inference.series.linking import Linker
from segkit.inference.stream import PredictedBatch, PredictsImages, predict_batches
from segkit.utils.errors import SegkitError


def predict_series(
    predictor: PredictsImages,
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[str, Frame],
    *,
    make_linker: Callable[[], Linker] = Linker,
    batch_size: int = 1,
    readers: int = 2,
    skip_unreadable: bool = False,
) -> Iterator[PredictedImage]:
    """Yields each frame with its detections, series, time, and tracks.

    Args:
        predictor: a :class:`segkit.Predictor`.
        source: a TIFF stack, several, numbered files, or what :func:`find_series` returns.
        make_linker: makes the linker of each series.
        batch_size: number of frames that go through the network together.
        readers: threads that read.
        skip_unreadable: whether frames that cannot be read are skipped, with a warning each; tracks have a gap there.
    Raises:
        SegkitError: a file is no series, or cannot be read.
    """
    if not isinstance(source, Mapping):
        files = [source] if isinstance(source, (str, os.PathLike)) else source
        source = find_series([Path(file) for file in files], getattr(predictor, "reader", None))
    batches = predict_batches(
        predictor,
        source,
        name_stems({name: frame.file for name, frame in source.items()}),
        batch_size=batch_size,
        readers=readers,
        skip_unreadable=skip_unreadable,
    )
    for batch in link_batches(batches, make_linker):
        yield from batch.images


def link_batches(batches: Iterable[PredictedBatch], make_linker: Callable[[], Linker]) -> Iterator[PredictedBatch]:
    """Yields batches whose frames have their ``track_ids``.

    Images that belong to no series stay as they are.

    Args:
        batches: series by series, in the order of time.
        make_linker: makes the linker of each series.
    """
    series, linker = None, None
    for batch in batches:
        for image in batch.images:
            if image.series is None:
                continue
            if linker is None or image.series != series:
                series, linker = image.series, make_linker()
            try:
                image.track_ids = linker.add(image.detections, image.frame)
            except SegkitError as error:
                raise SegkitError(f"{image.name}: {error}", key=error.key, value=error.value) from error
        yield batch
