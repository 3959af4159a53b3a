"""Reads files of predictions, and brings their ids to those of a data set."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.data.formats.base import Dataset
from segkit.data.formats.image_names import file_names
from segkit.evaluation.coco_detections import FileResults
from segkit.utils.errors import SegkitError, did_you_mean, first_few
from segkit.utils.paths import local_path
from segkit.utils.paths.spellings import name_key

logger = logging.getLogger(__name__)

NEEDED = ("image_id", "category_id", "score")


def read_results(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads a COCO results file.

    Raises:
        SegkitError: there is no such file, it is no JSON, or no list of dictionaries with ``image_id``, ``category_id`` and
            ``score``.
    """
    file = local_path(os.fspath(path), "results file", kind="file")
    return checked_results(read_json(file), file)


def read_predictions(path: str | os.PathLike[str], dataset: Dataset) -> list[dict[str, Any]]:
    """Reads COCO results or a ``predictions.json`` with the ids of a data set.

    ``predictions.json`` is a COCO data set: its images are found in the data set by their file names, its categories by
    their names, so that the ids of both files may differ. Without file names, or in data that are no files, ids count. A
    list of results has ids only. Images that one of both lacks, as those of another split, are counted in a warning.

    Returns:
        COCO results, in the order of the file, with the data set's ids.
    Raises:
        SegkitError: there is no such file, it is malformed, has no image of the data set, or a category that is not in it.
    """
    file = local_path(os.fspath(path), "results file", kind="file")
    content = read_json(file)
    if isinstance(content, list):
        return checked_results(content, file)
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise SegkitError(
            f"{file}: expected a list of COCO results, or a dictionary with 'images' and 'annotations' as "
            f"predictions.json; found a {type(content).__name__}"
        )
    found = _checked(content["annotations"], file, "annotations")
    images = _image_ids(_listed(content, "images", ("id",), file), dataset, file)
    categories = _category_ids(_listed(content, "categories", ("id", "name"), file), dataset, file)
    results: list[dict[str, Any]] = []
    positions: list[int] = []
    for i, one in enumerate(found):
        changed = dict(one)
        for key, ids in (("image_id", images), ("category_id", categories)):
            if ids is None:
                continue
            if not isinstance(one[key], int) or one[key] not in ids:
                kind = "images" if key == "image_id" else "categories"
                raise SegkitError(
                    f"{file}: annotations[{i}]: there is no entry with the id {one[key]!r} in '{kind}'", key=key
                )
            changed[key] = ids[one[key]]
        if changed["image_id"] is not None:
            results.append(changed)
            positions.append(i)
    return FileResults(results, positions)


def read_json(file: Path) -> Any:
    """Reads a JSON file of results.

    Raises:
        SegkitError: it is no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise SegkitError(f"{file}: is no JSON of COCO results ({error})", value=str(file)) from error


def checked_results(results: Any, file: Path) -> list[dict[str, Any]]:
    """Returns the content of a results file.

    Raises:
        SegkitError: it is no list of dictionaries with ``image_id``, ``category_id`` and ``score``.
    """
    if not isinstance(results, list):
        raise SegkitError(f"{file}: expected a list of COCO results, found a {type(results).__name__}")
    return _checked(results, file, "results")


def _checked(results: list[Any], file: Path, key: str) -> list[dict[str, Any]]:
    for i, one in enumerate(results):
        if not isinstance(one, dict):
            raise SegkitError(f"{file}: {key}[{i}] is a {type(one).__name__}, expected a dictionary")
        if missing := [name for name in NEEDED if name not in one]:
            hint = did_you_mean(missing[0], one)
            if missing[0] == "score" and "iscrowd" in one:
                hint = "; it looks like ground truth, not like predictions"
            raise SegkitError(f"{file}: {key}[{i}] has no {missing[0]}{hint}", key=missing[0])
    return results


def _listed(content: Mapping[str, Any], key: str, needed: Sequence[str], file: Path) -> list[Mapping[str, Any]]:
    """The entries of a list of the file; empty if it has none."""
    entries = content.get(key, [])
    if not isinstance(entries, list):
        raise SegkitError(f"{file}: '{key}' is a {type(entries).__name__}, expected a list", key=key)
    for i, one in enumerate(entries):
        for name in needed:
            if not isinstance(one, dict) or name not in one:
                raise SegkitError(f"{file}: {key}[{i}] has no {name}", key=name)
        if not isinstance(one["id"], int):
            raise SegkitError(f"{file}: {key}[{i}] has the id {one['id']!r}; expected an integer", key="id")
    counts = Counter(one["id"] for one in entries)
    if twice := [number for number, count in counts.items() if count > 1]:
        raise SegkitError(f"{file}: the id {twice[0]} occurs {counts[twice[0]]} times in '{key}'", key=key)
    return entries


def _image_ids(images: Sequence[Mapping[str, Any]], dataset: Dataset, file: Path) -> dict[int, int | None] | None:
    """The data set's id of each of the file's ids, None for an image that it lacks.

    None if ids count, because there are no names.
    """
    if not images or dataset.image_files() is None or not all(isinstance(one.get("file_name"), str) for one in images):
        return None
    names = [name_key(name) for name in file_names(dataset)]
    if len(set(names)) != len(names):  # several images of one file, as tiles
        return None
    known = _suffixes(dict(zip(names, dataset.image_ids, strict=True)))
    ids: dict[int, int | None] = {}
    source: dict[int, str] = {}
    strange: list[str] = []
    for one in images:
        image_id = ids[one["id"]] = _find(one["file_name"], known)
        if image_id is None:
            strange.append(one["file_name"])
            continue
        if image_id in source:
            raise SegkitError(
                f"{file}: '{source[image_id]}' and '{one['file_name']}' are the same image of the data", key="images"
            )
        source[image_id] = one["file_name"]
    if not source:
        raise SegkitError(
            f"{file}: none of its {len(strange)} images is in the data: '{strange[0]}'"
            f"{did_you_mean(name_key(strange[0]), names)}; the data have {len(names)} images: {first_few(names, 3)}",
            key="file_name", value=strange[0],
        )  # fmt: skip
    if strange:
        logger.warning(
            "%d of the %d images of %s are not in the data and are skipped: %s",
            len(strange), len(images), file, first_few(strange, 3),
        )  # fmt: skip
    if lacking := [name for name, image_id in zip(names, dataset.image_ids, strict=True) if image_id not in source]:
        logger.warning(
            "%d of the %d images of the data are not in %s and count as images without detections: %s",
            len(lacking), len(names), file, first_few(lacking, 3),
        )  # fmt: skip
    return ids


def _suffixes(ids: Mapping[str, int]) -> dict[str, int | None]:
    """The id of each path and of each of its ends, as ``b/c.png`` of ``a/b/c.png``; None if several have that end."""
    found: dict[str, int | None] = {}
    for name, image_id in ids.items():
        parts = name.split("/")
        for start in range(1, len(parts)):
            end = "/".join(parts[start:])
            found[end] = None if end in found else image_id
    return {**found, **ids}


def _find(name: str, known: Mapping[str, int | None]) -> int | None:
    """The id of the path that has the longest end in common with a name; None if there is none, or are several."""
    parts = name_key(name).split("/")
    return next((known[end] for i in range(len(parts)) if (end := "/".join(parts[i:])) in known), None)


def _category_ids(
    categories: Sequence[Mapping[str, Any]], dataset: Dataset, file: Path
) -> dict[int, int | None] | None:
    """The data set's id of each of the file's ids; None if ids count, because there are no names."""
    if not categories:
        return None
    by_name = dict(zip(dataset.classes, dataset.category_ids, strict=True))
    unknown = [one["name"] for one in categories if one["name"] not in by_name]
    if unknown:
        raise SegkitError(
            f"{file}: the category {unknown[0]!r} is no class of the data{did_you_mean(str(unknown[0]), by_name)}; they have "
            f"{first_few(list(by_name), 10)}",
            key="categories", value=unknown[0],
        )  # fmt: skip
    return {one["id"]: by_name[one["name"]] for one in categories}
