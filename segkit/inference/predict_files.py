"""Prediction for image files, one batch at a time, with writers of the results."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from segkit.data.formats.id_map import ImageEntry, check_size
from segkit.inference.output_files import NamesFiles, name_stems
from segkit.inference.predicted_image import PredictedImage
from segkit.inference.predictor import Predictor
from segkit.utils.errors import SegkitError, counted, first_few
from segkit.utils.images import ImageReader
from segkit.utils.out_of_memory import is_out_of_memory
from segkit.utils.paths.missing_files import suggest_files
from segkit.utils.paths.spellings import name_key

if TYPE_CHECKING:
    from torch import Tensor

    from segkit.structures.detections import Detections

logger = logging.getLogger(__name__)


class Writer(NamesFiles, Protocol):
    """Writes predictions, as a :class:`segkit.results.ResultWriter` does."""

    def add(self, image: PredictedImage) -> None:
        """Adds an image's detections."""

    def close(self) -> list[Path]:
        """Finishes the files and returns their paths."""


@dataclass
class PredictionSummary:
    """Counts and files of a prediction.

    Attributes:
        images: number of images predicted.
        detections: number of detections of each label.
        images_with: number of images with each label.
        skipped: files that could not be read.
        written: files that the writers have written.
        refused: messages of writers that wrote nothing, as for a submission that lacks images.
        seconds: time of the whole prediction.
    """

    images: int = 0
    detections: Counter[int] = field(default_factory=Counter)
    images_with: Counter[int] = field(default_factory=Counter)
    skipped: list[Path] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def table(self, classes: Sequence[str]) -> str:
        """Returns a table with a row for each class."""
        from tabulate import tabulate

        rows: list[list[object]] = [[n, self.detections[k], self.images_with[k]] for k, n in enumerate(classes)]
        rows.append(["all", self.detections.total(), ""])
        return tabulate(
            rows, headers=["class", "detections", f"of {counted(self.images, 'image')} in"], disable_numparse=True
        )


def name_inputs(
    files: Sequence[Path],
    id_map: Sequence[ImageEntry] = (),
    *,
    skipped: Sequence[Path] = (),
    skip_unreadable: bool = False,
    reader: ImageReader | None = None,
) -> dict[str, Path]:
    """Names each file as the id map does, or by its path if the id map does not list it.

    A name of the id map matches the end of a file's path, ``a.tif`` or ``folder/a.tif``, in any Unicode form.

    Args:
        files: to be predicted.
        id_map: its entries; empty without one.
        skipped: files that are no images by name or size; those that the id map lists are predicted all the same.
        skip_unreadable: whether files that cannot be read are no error here; :func:`predict_files` skips them.
        reader: the predictor's, whose ``data.planes`` select the image of files with several planes.
    Returns:
        the file of each name.
    Raises:
        SegkitError: an image of the id map is missing, two files match the same one, a file has another size than in the
            id map, or a file cannot be read.
    """
    known = {name_key(entry.file_name): entry for entry in id_map}
    named: dict[str, Path] = {}
    for path, is_given in (*((path, True) for path in files), *((path, False) for path in skipped)):
        ends = [name_key("/".join(path.parts[-n:])) for n in range(len(path.parts), 0, -1)]
        key = next((end for end in ends if end in known), None)
        if key is None and not is_given:
            continue
        name = known[key].file_name if key is not None else path.as_posix()
        if name in named:
            raise SegkitError(
                f"both {named[name]} and {path} match '{name}' of the id map; pass one of them", value=name
            )
        named[name] = path
    missing = [entry.file_name for entry in known.values() if entry.file_name not in named]
    if missing:
        raise SegkitError(
            f"{len(missing)} of the {len(known)} images of the id map are not among the inputs: "
            f"{first_few(missing)}{_where_is(missing, files)}",
            value=missing[0],
        )
    for entry in known.values():
        if entry.size is not None:
            try:
                size = (reader or ImageReader()).size(named[entry.file_name])
            except SegkitError:
                if skip_unreadable:
                    continue
                raise
            check_size(named[entry.file_name], size, entry.size, "the id map")
    return named


def _where_is(missing: Sequence[str], files: Sequence[Path]) -> str:
    """The end of a message about missing images: where the first is, or the nearest name."""
    for folder in dict.fromkeys(path.parent for path in files):
        if (folder / missing[0]).is_file():
            return f"; there is {folder / missing[0]}, which is not among the inputs"
    return suggest_files(missing, [path.as_posix() for path in files])


def predict_files(
    predictor: Predictor,
    inputs: Mapping[str, Path],
    writers: Sequence[Writer],
    *,
    batch_size: int = 1,
    skip_unreadable: bool = False,
) -> PredictionSummary:
    """Predicts files in order, a batch at a time, and adds each result to every writer.

    Args:
        predictor: model, classes and score threshold.
        inputs: the file of each name, as returned by :func:`name_inputs`.
        writers: closed at the end and after any exception, Ctrl-C included, so that earlier predictions are saved. The
            message of a writer that writes nothing is in the summary.
        batch_size: number of images that go through the network together.
        skip_unreadable: whether to skip images that cannot be read, with a warning each, instead of raising.
    Raises:
        SegkitError: a writer's file would replace an input; an image cannot be read (the message names it), none can, or the
            memory or the disk is full.
    """
    stems = name_stems(inputs, writers)
    summary, start = PredictionSummary(), time.perf_counter()
    try:
        reader = getattr(predictor, "reader", ImageReader())  # a function from tensors to detections has none
        for chunk in _batches(inputs, reader, summary, batch_size, skip_unreadable):
            for (name, image), detections in zip(chunk, _predict(predictor, chunk), strict=True):
                found = PredictedImage(name, stems[name], detections, image, inputs[name], reader.planes)
                for writer in writers:
                    writer.add(found)
                labels = detections.labels.tolist()
                summary.images += 1
                summary.detections.update(labels)
                summary.images_with.update(set(labels))
    except SegkitError as error:
        raise SegkitError(f"{error}{_saved(writers, summary)}", key=error.key, value=error.value) from error
    except OSError as error:
        raise SegkitError(f"{_cannot_be_written(error)}{_saved(writers, summary)}", value=error.filename) from error
    except BaseException as error:
        what = "interrupted" if isinstance(error, KeyboardInterrupt) else f"ended by {type(error).__name__}"
        logger.warning("%s after %d of %d images%s", what, summary.images, len(inputs), _saved(writers, summary))
        raise
    if not summary.images:
        raise SegkitError(f"none of the {len(inputs)} images can be read, so nothing is written")
    for writer in writers:
        try:
            summary.written += writer.close()
        except SegkitError as error:
            unread = f" ({len(summary.skipped)} of the inputs could not be read)" if summary.skipped else ""
            summary.refused.append(f"{error}{unread}")
        except OSError as error:
            raise SegkitError(_cannot_be_written(error), value=error.filename) from error
    summary.seconds = time.perf_counter() - start
    logger.info("predicted %s in %.1f s", counted(summary.images, "image"), summary.seconds)
    return summary


def _predict(predictor: Predictor, chunk: Sequence[tuple[str, Tensor]]) -> list[Detections]:
    """Predicts one batch; errors name its images."""
    names = ", ".join(name for name, _ in chunk)
    try:
        predict = getattr(predictor, "predict_read", predictor)
        return predict([image for _, image in chunk], batch_size=len(chunk))
    except SegkitError as error:
        raise SegkitError(f"{names}: {error}", key=error.key, value=error.value) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise SegkitError(
            f"{names}: not enough memory for {len(chunk)} image{'s' * (len(chunk) > 1)} at once; use a smaller batch size, "
            "the CPU, or smaller images (data.test_transforms)"
        ) from error


def _cannot_be_written(error: OSError) -> str:
    what = f"'{error.filename}'" if error.filename else "a file of the predictions"
    return f"{what} cannot be written: {error.strerror or error}"


def _saved(writers: Sequence[Writer], summary: PredictionSummary) -> str:
    """Closes the writers after an exception; returns where predictions are, for the message."""
    if not summary.images:
        return ""
    written: list[Path] = []
    for writer in writers:
        try:
            written += writer.close()
        except SegkitError as incomplete:
            logger.warning("%s", incomplete)
        except OSError as error:
            logger.warning("%s", _cannot_be_written(error))
    where = f" are in {', '.join(map(str, written))}" if written else " were not written"
    return f"; the predictions of the {summary.images} images before it{where}"


def _batches(
    inputs: Mapping[str, Path], reader: ImageReader, summary: PredictionSummary, size: int, skip: bool
) -> Iterator[list[tuple[str, Tensor]]]:
    """Yields ``size`` names and images at a time; raises for an unreadable one after those."""
    batch: list[tuple[str, Tensor]] = []
    for name, path in inputs.items():
        try:
            image = reader.read(path)
        except SegkitError as error:
            if not skip:
                if batch:
                    yield batch
                raise
            logger.warning("%s; skipped", error)
            summary.skipped.append(path)
            continue
        batch.append((name, image))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
