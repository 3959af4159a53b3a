"""Prediction for image files, one batch at a time, with writers of the results."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from segkit.data.formats.id_map import ImageEntry, check_size
from segkit.inference.frame import Frame, file_of
from segkit.inference.output_files import name_stems
from segkit.inference.predictor import Predictor
from segkit.inference.series.linking import Linker
from segkit.inference.series.predict import link_batches
from segkit.inference.stream import predict_batches
from segkit.inference.writing import Ledger, PredictionSummary, Writer, WritingThread
from segkit.utils.errors import SegkitError, counted, first_few
from segkit.utils.images import ImageReader
from segkit.utils.paths.missing_files import suggest_files
from segkit.utils.paths.spellings import name_key
from segkit.utils.progress import progress as progress_line

logger = logging.getLogger(__name__)


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
    inputs: Mapping[str, Path | Frame],
    writers: Sequence[Writer],
    *,
    batch_size: int = 1,
    readers: int = 2,
    skip_unreadable: bool = False,
    progress: bool = False,
    stems: Mapping[str, str] | None = None,
    ledger: Ledger | None = None,
    summary: PredictionSummary | None = None,
    close: bool = True,
    close_on_error: bool = True,
    make_linker: Callable[[], Linker] | None = None,
) -> PredictionSummary:
    """Predicts files in order, a batch at a time, and adds each result to every writer.

    Threads read the next images and write the last ones while the model works; images wait for them in bounded queues.

    Args:
        predictor: model, classes and score threshold.
        inputs: the file of each name, as returned by :func:`name_inputs`, or the frames of time series, as
            :func:`segkit.inference.series.find_series` returns them.
        writers: closed at the end and after any exception, Ctrl-C included, so that earlier predictions are saved. The
            message of a writer that writes nothing is in the summary.
        batch_size: number of images that go through the network together.
        readers: threads that read images.
        skip_unreadable: whether to skip images that cannot be read, with a warning each, instead of raising.
        progress: whether to show the number of images on a terminal.
        stems: of each image's files, by its name; None: those of ``inputs`` alone.
        ledger: gets the counts after each batch that all writers have finished.
        summary: counts of the first inputs, which are finished already; they are passed over.
        close: whether to close the writers at the end.
        close_on_error: whether to close them after an exception.
        make_linker: makes the linker of each time series; None: objects get no tracks.
    Raises:
        SegkitError: a writer's file would replace an input; an image cannot be read (the message names it), none can, or the
            memory or the disk is full.
    """
    if stems is None:
        stems = name_stems({name: file_of(source) for name, source in inputs.items()}, writers)
    summary = PredictionSummary() if summary is None else summary
    start = time.perf_counter() - summary.seconds
    left = dict(islice(inputs.items(), summary.inputs, None))
    batches = predict_batches(
        predictor, left, stems, batch_size=batch_size, readers=readers, skip_unreadable=skip_unreadable
    )
    if make_linker is not None:
        batches = link_batches(batches, make_linker)
    pending = WritingThread(writers, summary, ledger, start)
    saved = functools.partial(_saved, writers if close_on_error else None, summary)
    try:
        with pending:
            for batch in (
                progress_line(batches, len(left), "predicted", lambda one: one.inputs) if progress else batches
            ):
                pending.write(batch)
    except SegkitError as error:
        raise SegkitError(f"{error}{saved()}", key=error.key, value=error.value) from error
    except OSError as error:
        raise SegkitError(f"{_cannot_be_written(error)}{saved()}", value=error.filename) from error
    except BaseException as error:
        what = "interrupted" if isinstance(error, KeyboardInterrupt) else f"ended by {type(error).__name__}"
        logger.warning("%s after %d of %d images%s", what, summary.images, len(inputs), saved())
        raise
    summary.seconds = time.perf_counter() - start
    if close:
        if not summary.images:
            raise SegkitError(f"none of the {len(inputs)} images can be read, so nothing is written")
        close_writers(writers, summary)
    logger.info("predicted %s in %.1f s", counted(summary.images, "image"), summary.seconds)
    return summary


def close_writers(writers: Sequence[Writer], summary: PredictionSummary) -> None:
    """Closes the writers after all images.

    The summary gets their files, and the messages of those that wrote nothing.

    Raises:
        SegkitError: a file cannot be written.
    """
    for writer in writers:
        try:
            summary.written += writer.close()
        except SegkitError as error:
            unread = f" ({len(summary.skipped)} of the inputs could not be read)" if summary.skipped else ""
            summary.refused.append(f"{error}{unread}")
        except OSError as error:
            raise SegkitError(_cannot_be_written(error), value=error.filename) from error


def _cannot_be_written(error: OSError) -> str:
    what = f"'{error.filename}'" if error.filename else "a file of the predictions"
    return f"{what} cannot be written: {error.strerror or error}"


def _saved(writers: Sequence[Writer] | None, summary: PredictionSummary) -> str:
    """Closes the writers, if given, after an exception; returns where predictions are, for the message."""
    if not summary.images:
        return ""
    if writers is None:
        return f"; {counted(summary.images, 'image')} before it {'are' if summary.images > 1 else 'is'} finished"
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
