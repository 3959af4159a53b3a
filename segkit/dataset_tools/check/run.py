"""Checks a data set: opens its splits, looks at every image, and compares the splits."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from segkit.data.formats import Dataset
from segkit.data.formats.parsed import relative_name
from segkit.dataset_tools.check.classes import (
    check_border,
    check_class_names,
    check_counts,
    class_counts,
    is_training,
    merge_parts,
)
from segkit.dataset_tools.check.coco_dataset import FaultyCoco
from segkit.dataset_tools.check.images import ImageFacts, repeated_images, unlike_images
from segkit.dataset_tools.check.mend import SplitImages, write_mended
from segkit.dataset_tools.check.opening import OpenedSplits, Spec, open_splits
from segkit.dataset_tools.check.report import Fault, Report, SplitSummary
from segkit.dataset_tools.check.scan import ImageScan, scan_images
from segkit.dataset_tools.check.stated import whole_dataset
from segkit.dataset_tools.writing import check_output
from segkit.utils.errors import SegkitError

MAX_WORKERS = 8


def check_dataset(
    source: str | Path | Spec,
    *,
    format: str | None = None,
    pixels: bool = True,
    workers: int | None = None,
    stride: float = 4,
    detections: int = 100,
    fix: str | Path | None = None,
    merge_classes: bool = False,
) -> Report:
    """Finds the faults of a data set, and writes a mended copy if asked to.

    Args:
        source: folder or file of any format; a configuration; a spec as in one; or specs by split.
        format: name of the format; None: recognised by content.
        pixels: decode the images. Without, only their headers are read, and equal images are not found.
        workers: processes that look at images; None: one a core, at most MAX_WORKERS; 0: none.
        stride: of the model's finest feature level, in pixels.
        detections: the model's largest number of detections in an image.
        fix: folder for the mended copy, which must not exist or be empty; None: no copy.
        merge_classes: in the copy, merge classes whose names differ only in case or spaces.
    Raises:
        SegkitError: there are no such data, no format recognises them, or ``fix`` is not an empty folder.
    """
    if stride <= 0 or detections < 1:
        raise SegkitError(f"stride is {stride:g} and detections {detections}; both must be above 0")
    if workers is not None and workers < 0:
        raise SegkitError(f"workers is {workers}; expected 0 or more", key="workers", value=workers)
    output = None if fix is None else check_output(fix, source if isinstance(source, str | Path) else None, "--fix")
    workers = min(os.cpu_count() or 1, MAX_WORKERS) if workers is None else workers
    with tempfile.TemporaryDirectory(prefix="segkit-check-", ignore_cleanup_errors=True) as scratch:
        opened = open_splits(source, format, Path(scratch))
        report = Report("data set" if isinstance(source, dict) else str(source), opened.format, pixels=pixels)
        report.faults += opened.faults
        images = _check_splits(report, opened, stride=stride, detections=detections, workers=workers)
        report.sentence, report.reason = describe(opened, report), opened.reason
        if output is not None:
            report.fix = write_mended(output, opened, images, report.faults, merge_classes=merge_classes)
    return report


def _check_splits(
    report: Report, opened: OpenedSplits, *, stride: float, detections: int, workers: int
) -> dict[str, SplitImages]:
    """Adds the faults of all splits to the report; returns what is known of their images."""
    facts: dict[str, list[ImageFacts]] = {}
    names: dict[str, list[str]] = {}
    files: dict[str, list[str | None]] = {}
    listed_wholes: list[Dataset] = []
    for split, dataset in opened.datasets.items():
        paths = dataset.image_files()
        listed: list[str | None] = [None] * len(dataset) if paths is None else list(paths)
        names[split] = image_names(dataset, listed)
        files[split] = whole_files(dataset, listed)
        regions = tuple(label for label, name in enumerate(dataset.classes) if name in opened.regions)
        scan = ImageScan(dataset, files[split], report.pixels, stride, detections, regions)
        found: list[Fault] = []
        facts[split] = []
        for image, faults in scan_images(scan, workers):
            facts[split].append(image)
            name = names[split][image.index]
            found += [Fault(kind, text, split, name, item, place) for kind, text, item, place in faults]
        report.faults += merge_parts(split, facts[split], found, names[split])
        report.faults += unlike_images(split, facts[split], names[split])
        report.faults += check_class_names(split, dataset.classes)
        report.faults += check_border(split, facts[split])
        whole = whole_dataset(dataset)
        if all(whole is not other for other in listed_wholes):  # two splits may be parts of one data set
            listed_wholes.append(whole)
            report.faults += _lost(split, whole)
            if notes := dataset.notes():
                report.notes[split] = notes
        counts = class_counts(dataset, facts[split], opened.regions)
        report.splits[split] = SplitSummary(len(dataset), sum(image.objects for image in facts[split]), counts)
    report.faults += check_counts({split: summary.classes for split, summary in report.splits.items()})
    # An image of two splits is kept in validation and test data, and removed from the training.
    ids = {split: dataset.image_ids for split, dataset in opened.datasets.items()}
    order = sorted(facts, key=lambda split: is_training(split, list(facts)))
    report.faults += repeated_images({split: facts[split] for split in order}, names, files, ids)
    return {split: SplitImages(facts[split], names[split], files[split]) for split in facts}


def whole_files(dataset: Dataset, files: Sequence[str | None]) -> list[str | None]:
    """The file of each image; None for an image that is a part of its file, as a tile."""
    if isinstance(whole_dataset(dataset), FaultyCoco):
        return list(files)
    counts, whole = Counter(files), list(files)
    for index, file in enumerate(files):
        if file is not None and counts[file] > 1:
            with contextlib.suppress(SegkitError):  # an unreadable file is listed when the image is looked at
                if dataset.size(index) != dataset.reader.size(file):
                    whole[index] = None
    return whole


def image_names(dataset: Dataset, files: Sequence[str | None]) -> list[str]:
    """Name of each image in messages: the path below their common folder."""
    known = [file for file in files if file is not None]
    root = Path()
    if known:
        with contextlib.suppress(ValueError):  # paths on several drives
            root = Path(os.path.commonpath([os.path.dirname(file) for file in set(known)]))
    return [
        f"image {dataset.image_ids[i]}" if file is None else relative_name(file, root) for i, file in enumerate(files)
    ]


def describe(opened: OpenedSplits, report: Report) -> str:
    """What the data are, in one sentence."""
    splits = report.splits
    images = sum(split.images for split in splits.values())
    objects = sum(split.objects for split in splits.values())
    classes = list({name: None for split in splits.values() for name in split.classes})
    listed = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
    title = opened.format.replace("_", " ")
    if not splits:
        return f"nothing can be read as {title} data"
    found = _count(len(classes), "class", "es")
    parts = [f"{title} data of {_count(images, 'image')}", f"{found} ({listed})" if classes else "no classes"]
    parts.append(_count(objects, "object"))
    if list(splits) == ["all"]:
        return f"{', '.join(parts)}; no splits"
    each = ", ".join(f"{name} {split.images:,}" for name, split in splits.items())
    return f"{', '.join(parts)}; splits: {each}"


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def _lost(split: str, dataset: Dataset) -> list[Fault]:
    """What the reader says about objects that it loses; a COCO file's are listed one by one instead."""
    if isinstance(dataset, FaultyCoco):
        return []
    total, lost = dataset.lost_objects()
    faults = []
    for loss in lost:
        examples = f", as {', '.join(loss.examples)}" if loss.examples else ""
        text = f"{loss.count:,} of {total:,} are {loss.reason}{examples}" + (f"; {loss.hint}" if loss.hint else "")
        faults.append(Fault("mistaken_objects" if loss.mistake else "lost_objects", text, split, place=split))
    return faults
