"""Opens the splits of a data set that may be full of faults."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segkit.data.formats import (
    Dataset,
    Lvis,
    PartiallyAnnotated,
    Recognition,
    build_dataset,
    recognize,
)
from segkit.data.formats.coco.extra_columns import ExtraColumns
from segkit.data.formats.lvis.table import LvisColumns
from segkit.data.formats.parsing.file_errors import collect_errors
from segkit.data.formats.parsing.json_stream import stream_mapping
from segkit.dataset_tools.check.coco_file import read_coco
from segkit.dataset_tools.check.report import Fault
from segkit.dataset_tools.source import ConfiguredData, configured_data
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.images import is_image_name
from segkit.utils.paths import local_path

Spec = Mapping[str, Any]
# Formats that are read entry by entry, with the keys that they have beside COCO's.
COCO_LIKE: dict[str, type[ExtraColumns]] = {"coco": ExtraColumns, "lvis": LvisColumns}


@dataclass(frozen=True)
class OpenedSplits:
    """The splits that could be opened.

    Attributes:
        datasets: by split.
        specs: of all splits, also those that could not be opened.
        faults: of the annotation files.
        format: name of the format.
        regions: categories that a configuration names as regions, which are no classes.
        reason: why the format was recognised; empty: it was given.
    """

    datasets: dict[str, Dataset]
    specs: dict[str, Spec]
    faults: list[Fault]
    format: str
    regions: tuple[str, ...] = ()
    reason: str = ""


def open_splits(source: str | Path | Spec, format: str | None, scratch: Path) -> OpenedSplits:
    """Opens what can be opened, and lists the faults of the rest.

    Args:
        source: folder or file; a configuration; a spec as in a configuration; or specs by split.
        format: name of the format; None: recognised by content.
        scratch: a folder that has to exist as long as the data sets.
    Raises:
        SegkitError: there is no such file, it cannot be read, or no format recognises it.
    """
    configured, reason = None, ""
    datasets: dict[str, Dataset] = {}
    faults: list[Fault] = []
    try:
        if format is None and not isinstance(source, Mapping):
            configured = configured_data(local_path(str(source), "data set"))
        if configured is not None:
            specs = dict(configured.specs)
        elif isinstance(source, Mapping):
            specs = {"all": source} if "format" in source else dict(source)
        else:
            found_format = find_format(source, format)
            specs = dict(found_format.splits) or {"all": found_format.spec}
            reason = found_format.reason if format is None else ""
        for split, spec in specs.items():
            dataset, found = _open(split, spec, scratch)
            faults += found
            if dataset is not None:
                datasets[split] = dataset
    except OSError as error:
        path = error.filename or source
        raise SegkitError(f"{path}: cannot be read: {error.strerror or error}", value=str(path)) from error
    opened = OpenedSplits(datasets, specs, faults, str(next(iter(specs.values())).get("format")), reason=reason)
    return opened if configured is None else _as_configured(opened, configured)


def _as_configured(opened: OpenedSplits, configured: ConfiguredData) -> OpenedSplits:
    """The splits with the configuration's reader, regions, and validation images of the training data.

    Raises:
        SegkitError: the training data have no category of the name of a region, or cannot be divided.
    """
    datasets, partial = dict(opened.datasets), configured.partial
    for dataset in datasets.values():
        dataset.reader = configured.reader
    if "train" in datasets:
        train = datasets["train"]
        # The parts are those of the run; their objects are all that are annotated, for their faults and a mended copy.
        parts = configured.divide(PartiallyAnnotated(train, partial) if partial else train)
        datasets |= {name: train.subset(part.indices) for name, part in parts.items()}
    return replace(opened, datasets=datasets, regions=tuple(partial.region_classes))


def find_format(source: str | Path, format: str | None) -> Recognition:
    """The specs of a folder or file, which may be too broken to be recognised.

    Args:
        source: folder or file.
        format: name of the format; None: recognised by content.
    """
    if format is not None and format not in DATASET_FORMAT_REGISTRY:
        hint = did_you_mean(format, DATASET_FORMAT_REGISTRY.names())
        raise SegkitError(f"there is no data format '{format}'{hint}", key="format", value=format)
    path = local_path(str(source), "data set")
    if path.is_dir() and not any(path.iterdir()):
        raise SegkitError(f"{path}: the folder is empty", value=str(path))
    if format is None and _is_coco(path):  # a file that is too broken to be recognised may be opened
        format = "coco" if Lvis.recognize(path) is None else "lvis"
    if format is not None:
        return _as_format(path, format)
    try:
        return recognize(path)
    except SegkitError:
        specs = _coco_specs(path)  # files that are too broken to be recognised
        if not specs:
            raise
        return Recognition(next(iter(specs.values())), "COCO files", specs if len(specs) > 1 else {})


def _open(split: str, spec: Spec, scratch: Path) -> tuple[Dataset | None, list[Fault]]:
    """The data set of a spec, and the faults of its annotation files."""
    columns = COCO_LIKE.get(str(spec.get("format")))
    if columns is not None and "json" in spec and "images" in spec:
        file, folder = local_path(spec["json"], "COCO annotation file"), local_path(spec["images"], "folder of images")
        if not folder.is_dir():
            raise SegkitError(f"{folder}: is not a folder", value=str(folder))
        return read_coco(file, folder, split, scratch, columns)
    with collect_errors() as errors:
        try:
            dataset: Dataset | None = build_dataset(spec)
            failure = ""
        except SegkitError as error:
            dataset, failure = None, str(error)
    faults = [
        Fault("missing_image", error.message, split, Path(error.file).name, place=error.file)
        if error.problem == "missing"
        else Fault(
            "missing_package" if error.problem == "package" else "unreadable_annotations",
            error.message,
            split,
            place=error.file,
        )
        for error in errors
    ]
    if failure:
        faults.append(Fault("unreadable_annotations", failure, split, place=split))
    return dataset, faults


def _as_format(path: Path, format: str) -> Recognition:
    """The data read as a given format: as it recognises them, else by its only required argument."""
    component = DATASET_FORMAT_REGISTRY.get(format)
    if inspect.isclass(component) and issubclass(component, Dataset):
        try:
            found = component.recognize(path)
        except SegkitError:  # the faults of the file are listed when it is read
            found = None
        if found is not None:
            return found
    if format == "coco" and (specs := _coco_specs(path)):
        return Recognition(next(iter(specs.values())), "a COCO file", specs if len(specs) > 1 else {})
    required = [
        name for name, option in inspect.signature(component).parameters.items() if option.default is option.empty
    ]
    if len(required) != 1:
        raise SegkitError(f"{path}: is not in the format '{format}'", value=str(path))
    return Recognition({"format": format, required[0]: str(path)}, "its only argument")


def _is_coco(path: Path) -> bool:
    """Whether a path is a JSON of the COCO format, however broken it is behind its first keys."""
    return path.is_file() and path.suffix.lower() == ".json" and _has_coco_keys(path)


def _has_coco_keys(file: Path) -> bool:
    with open(file, encoding="utf-8-sig", errors="replace") as stream:
        start = stream.read(1 << 16)
    if not start.lstrip().startswith("{"):
        return False
    if '"annotations"' in start and ('"image_id"' in start or '"images"' in start):
        return True
    try:
        return len({"images", "annotations", "categories"} & {key for key, _ in stream_mapping(file)}) >= 2
    except (SegkitError, json.JSONDecodeError):
        return '"images"' in start or '"annotations"' in start


def _coco_specs(path: Path) -> dict[str, Spec]:
    """A spec for each COCO file of a folder, by its name without suffix."""
    files = [path] if path.is_file() else sorted([*path.glob("*.json"), *path.glob("annotations/*.json")])
    specs: dict[str, Spec] = {}
    for file in files:
        if _has_coco_keys(file):
            folders = [file.parent / "images" / file.stem, file.parent / "images", file.parent / file.stem]
            split = file.stem.rpartition("_")[2]  # of instances_SPLIT.json
            above = file.parent.parent
            folders += [above / "images" / file.stem, above / "images" / split, above / "images", above / split]
            images = next((folder for folder in folders if _has_images(folder)), file.parent)
            specs[file.stem] = {"format": "coco", "json": str(file), "images": str(images)}
    return specs


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and any(is_image_name(path) for path in folder.rglob("*"))
