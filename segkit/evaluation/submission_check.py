"""Checks a finished submission against the id map of the test images."""

from __future__ import annotations

import json
import os
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.data.formats.id_map import ImageEntry
from segkit.evaluation.coco_detections import ImageResults, detections_from_results, results_by_image
from segkit.evaluation.result_files import checked_results, read_json
from segkit.utils.errors import SegkitError, first_few
from segkit.utils.paths import local_path

RESULTS_NAME = "test-results.json"
KEYS = ("bbox", "segmentation")


@dataclass(frozen=True)
class SubmissionSummary:
    """What a valid submission has.

    Attributes:
        images: number of images of the id map.
        detections: number of detections.
        without_detections: file names of the images that have none, which are scored as images without objects.
        by_category: number of detections of each category id, ascending.
        lowest_score: of all detections; None without any.
    """

    images: int
    detections: int
    without_detections: Sequence[str]
    by_category: Mapping[int, int]
    lowest_score: float | None

    def __str__(self) -> str:
        """A few lines for the terminal."""
        lines = [
            f"{self.detections:,} detections in {self.images - len(self.without_detections)} of {self.images} images"
        ]
        if self.by_category:
            each = ", ".join(f"{category_id}: {count:,}" for category_id, count in self.by_category.items())
            lines.append(f"by category id: {each}; lowest score {self.lowest_score:g}")
        if self.without_detections:
            count = len(self.without_detections)
            lines.append(f"without detections: {count} images: {first_few(self.without_detections)}")
        return "\n".join(lines)


def check_submission(
    path: str | os.PathLike[str], id_map: Sequence[ImageEntry], category_ids: Sequence[int] | None = None
) -> SubmissionSummary:
    """Checks ``test-results.json``, or a zip that holds exactly this file.

    Each result needs an ``image_id`` of the id map, a ``category_id``, a ``score`` in 0..1, a ``bbox`` (x, y, width, height
    in the image's pixels) and a ``segmentation``: an RLE of the image's size whose counts add up to it.

    Args:
        path: the file.
        id_map: the result of :func:`segkit.data.formats.id_map.load_id_map`.
        category_ids: those that are allowed; None: any integers.
    Raises:
        SegkitError: the first thing that is wrong, with its position in the file.
    """
    file = local_path(os.fspath(path), "submission", kind="file")
    results = checked_results(_read_zip(file) if zipfile.is_zipfile(file) else read_json(file), file)
    try:
        return _checked(results, id_map, category_ids)
    except SegkitError as error:
        raise SegkitError(f"{file}: {error}", key=error.key, value=error.value) from None


def _checked(
    results: Sequence[Mapping[str, Any]], id_map: Sequence[ImageEntry], category_ids: Sequence[int] | None
) -> SubmissionSummary:
    for i, one in enumerate(results):
        for key in KEYS:
            if one.get(key) is None:
                raise SegkitError(f"results[{i}] has no '{key}', which a submission needs", key=key)
        if category_ids is None and (isinstance(one["category_id"], bool) or not isinstance(one["category_id"], int)):
            raise SegkitError(
                f"results[{i}] has the category_id {one['category_id']!r}; expected an integer", key="category_id"
            )
    categories = Counter(one["category_id"] for one in results) if category_ids is None else Counter[int]()
    allowed = sorted(categories) if category_ids is None else list(category_ids)
    found = results_by_image(results, [entry.image_id for entry in id_map])
    by_category, lowest = Counter[int](), None
    for entry in id_map:
        of_image = found.get(entry.image_id)
        if of_image is None:
            continue
        try:
            detections = detections_from_results(of_image, _size(entry, of_image), allowed, scores_in_range=True)
        except SegkitError as error:
            raise SegkitError(f"{error} (image '{entry.file_name}')", key=error.key, value=error.value) from None
        by_category.update(allowed[label] for label in detections.labels.tolist())
        least = min(float(one["score"]) for one in of_image.results)
        lowest = least if lowest is None else min(lowest, least)
    without = [entry.file_name for entry in id_map if entry.image_id not in found]
    return SubmissionSummary(len(id_map), len(results), without, dict(sorted(by_category.items())), lowest)


def _size(entry: ImageEntry, found: ImageResults) -> tuple[int, int]:
    """(H, W) of an image; if the id map does not state it, that of its first RLE."""
    if entry.size is not None:
        return entry.size
    rle, where = found.results[0]["segmentation"], f"results[{found.positions[0]}]"
    size = rle.get("size") if isinstance(rle, Mapping) else None
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise SegkitError(
            f"{where}: the segmentation has the size {size!r}; expected [height, width]", key="segmentation"
        )
    return size[0], size[1]


def _read_zip(file: Path) -> Any:
    """The JSON in a submission's zip."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if names != [RESULTS_NAME]:
                raise SegkitError(
                    f"{file}: expected exactly the file {RESULTS_NAME} in it, found {first_few(names) or 'none'}"
                )
            return json.loads(archive.read(RESULTS_NAME).decode("utf-8"))
    except (zipfile.BadZipFile, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise SegkitError(f"{file}: holds no JSON of COCO results ({error})", value=str(file)) from error
