"""Submission of predictions for a test folder: ``test-results.json`` and a zip of it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segkit.data.formats.id_map import ImageEntry, check_size
from segkit.evaluation.results import coco_results, write_json
from segkit.evaluation.submission_check import RESULTS_NAME, SubmissionSummary, check_submission
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError, did_you_mean, first_few

if TYPE_CHECKING:
    import numpy as np

    from segkit.structures.detections import Detections

ZIP_NAME = "test-results.zip"


class SubmissionWriter:
    """Writes the detections of the images that an id map lists, added in any order.

    What was written is read and checked again (:func:`~segkit.evaluation.submission_check.check_submission`); ``summary``
    is the result, None before :meth:`close`.

    Args:
        folder: where :meth:`close` writes ``test-results.json`` and ``test-results.zip``.
        id_map: the result of :func:`segkit.data.formats.id_map.load_id_map`.
        category_ids: id of each label, the K of ``classK.tif``.
    """

    def __init__(
        self, folder: str | os.PathLike[str], id_map: Sequence[ImageEntry], category_ids: Sequence[int]
    ) -> None:
        self.folder = Path(folder)
        self.entries = {entry.file_name: entry for entry in id_map}
        self.category_ids = list(category_ids)
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.unlisted: list[str] = []
        self.summary: SubmissionSummary | None = None

    def add(self, name: str, image: np.ndarray | None, detections: Detections) -> None:
        """Adds one image's detections, at the file's size; ignores images not in the id map.

        Raises:
            SegkitError: the image has another size in the id map, or was added before.
        """
        self.add_results(name, self.results_of(name, detections))

    def results_of(self, name: str, detections: Detections) -> list[dict[str, Any]] | None:
        """The results of one image's detections; None if the image is not in the id map.

        Raises:
            SegkitError: the image has another size in the id map.
        """
        entry = self.entries.get(name)
        if entry is None:
            return None
        check_size(name, (int(detections.size[0]), int(detections.size[1])), entry.size, "the id map")
        return coco_results(detections, entry.image_id, self.category_ids)

    def add_results(self, name: str, results: list[dict[str, Any]] | None) -> None:
        """Adds what :meth:`results_of` returned.

        Raises:
            SegkitError: the image was added before.
        """
        if results is None:
            self.unlisted.append(name)
        elif name in self.results:
            raise SegkitError(f"{name} was predicted twice; the id map lists it once", value=name)
        else:
            self.results[name] = results

    def close(self) -> list[Path]:
        """Writes both files, with the images in the order of the id map, and returns their paths.

        Raises:
            SegkitError: an image of the id map was not predicted. Nothing is written then, because the image would be
                scored as one without objects.
        """
        missing = [name for name in self.entries if name not in self.results]
        if missing:
            hint = did_you_mean(missing[0], self.unlisted) if self.unlisted else ""
            stale = [name for name in (RESULTS_NAME, ZIP_NAME) if (self.folder / name).exists()]
            earlier = f"; {' and '.join(stale)} in '{self.folder}' come from an earlier prediction" if stale else ""
            raise SegkitError(
                f"{len(missing)} of the {len(self.entries)} images of the id map were not predicted: "
                f"{first_few(missing)}{hint if 'mean' in hint else ''}; "
                f"no submission is written{earlier}"
            )
        results = [result for name in self.entries for result in self.results[name]]
        written = write_json(self.folder / RESULTS_NAME, results)
        # Contexts end in reverse order: the archive is complete before the temporary file is renamed.
        with (
            atomic_write(self.folder / ZIP_NAME) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            archive.write(written, arcname=RESULTS_NAME)
        self.summary = check_submission(self.folder / ZIP_NAME, list(self.entries.values()), self.category_ids)
        return [written, self.folder / ZIP_NAME]


def write_submission(
    detections: Mapping[str, Detections] | Iterable[tuple[str, Detections]],
    id_map: Sequence[ImageEntry],
    category_ids: Sequence[int],
    folder: str | os.PathLike[str],
) -> list[Path]:
    """Writes ``test-results.json`` and ``test-results.zip``; returns both paths.

    Each result has ``image_id``, ``bbox`` (x, y, width, height in the file's pixels), ``score``, ``category_id`` and
    ``segmentation`` (RLE at the file's size).

    Args:
        detections: by the id map's file names, at the files' sizes; a generator is consumed one by one.
        id_map: the images of the submission.
        category_ids: id of each label.
        folder: created if it does not exist.
    Raises:
        SegkitError: an image is missing, has another size in the id map, or occurs twice.
    """
    writer = SubmissionWriter(folder, id_map, category_ids)
    for name, found in detections.items() if isinstance(detections, Mapping) else detections:
        writer.add(name, None, found)
    return writer.close()
