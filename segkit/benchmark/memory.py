"""Part ``memory``: loading, pasting, training, large data sets, against torchvision."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from segkit.benchmark import data
from segkit.benchmark.annotation_file import PER_IMAGE, write_annotations
from segkit.benchmark.annotation_memory import annotation_memory
from segkit.benchmark.comparison import write_weights
from segkit.benchmark.models import chosen_device
from segkit.benchmark.options import Options
from segkit.benchmark.peak_memory import memory_note, peak_memory
from segkit.benchmark.report import OWN, PEER, Report, Row
from segkit.utils.errors import SegkitError

DEFAULTS: dict[str, Any] = {"batch": 1, "object_sides": (16, 60), "annotations": 1_000_000}
LOADED, PASTED, FEW, MANY = 250, 300, 100, 1500  # objects
FILE_SIZE, PASTED_SIZE, TRAINED_SIZE = (1024, 1024), (2048, 2048), (800, 800)
WORKERS = (1, 8)
MIB = 2**20
NOTES = [
    "load: as in the part data, one image; paste: as in the part postprocess; training: a step as in the part train, "
    "with weights, gradients and the optimizer's state",
    "annotations: memory of a process and its workers (PSS, shared pages counted once) when each worker went "
    "through all images, less the same with the first image alone, read as often; segkit: the format coco, the labels of "
    "each image and the masks of every fourth; torchvision: CocoDetection, the dicts of each image",
]


def run(options: Options) -> Report:
    """Runs the measurements of this part, which its notes describe.

    ``options.objects`` replaces each number of objects, FEW by a 15th of it.
    """
    if not options.memory:
        raise SegkitError("--no-memory leaves nothing of the part memory", key="memory")
    options = options.filled(**DEFAULTS)
    report = Report.of("memory", f"{options.batch} image{'s' * (options.batch != 1)} a step", options)
    add_peak("data", "load, flip, resize", replace(options, device="cpu"), LOADED, FILE_SIZE, data.prepare, report)
    add_peak("postprocess", "paste and encode", options, PASTED, PASTED_SIZE, lambda settings, folder: None, report)
    few = replace(options, objects=max(1, options.objects // 15)) if options.objects else options
    small = add_peak("train", "training step", few, FEW, TRAINED_SIZE, random_weights, report)
    large = add_peak("train", "training step", options, MANY, TRAINED_SIZE, random_weights, report)
    more = {name: large[name] - small[name] for name in large if name in small}
    report.rows.append(Row("of it for the further objects", "MiB", more))
    add_annotations(options.annotations or 1, report)
    device = chosen_device(options)
    report.notes += [
        memory_note("cpu"),
        *([memory_note("cuda") + ", pasting and training"] if device.type == "cuda" else []),
        *NOTES,
    ]
    return report


def random_weights(options: Options, folder: Path) -> None:
    write_weights(options, folder, None)


def add_peak(
    part: str,
    work: str,
    options: Options,
    objects: int,
    size: tuple[int, int],
    prepare: Callable[[Options, Path], None],
    report: Report,
) -> Mapping[str, float]:
    """Adds a row with each side's peak memory in a part; returns its values."""
    settings = options.filled(objects=objects, size=size)
    assert settings.size
    title = f"{work}: {settings.objects} objects, {settings.size[0]} x {settings.size[1]}"
    with tempfile.TemporaryDirectory() as name:
        prepare(settings, Path(name))
        found = {side: peak_memory(part, side, settings, Path(name)) for side in (OWN, PEER)}
    return add_row(title, found, report)


def add_annotations(count: int, report: Report) -> None:
    """Adds rows on annotations with few and many workers.

    Memory that does not depend on the number of annotations, mostly 5 MB of a worker for masks being built, is
    subtracted: it is measured with a data set of one image that the workers read as often.
    """
    reads = -(-count // PER_IMAGE)
    taken: dict[int, Mapping[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        full, one = Path(name) / "full.json", Path(name) / "one.json"
        write_annotations(full, count)
        write_annotations(one, min(count, PER_IMAGE))
        annotation_memory(OWN, full, workers=1, reads=1)  # fills the cache for all measurements
        for workers in WORKERS:
            found: dict[str, float | str] = {}
            for side in (OWN, PEER):
                with_all, without = (annotation_memory(side, file, workers, reads) for file in (full, one))
                if isinstance(with_all, str) or isinstance(without, str):
                    found[side] = with_all if isinstance(with_all, str) else without
                else:
                    found[side] = with_all - without
            taken[workers] = add_row(f"{count:,} annotations, {workers} worker{'s' * (workers > 1)}", found, report)
    few, many = (taken[workers] for workers in WORKERS)
    growth = {side: many[side] / few[side] for side in many if few.get(side)}
    report.rows.append(Row(f"{WORKERS[1]} workers by {WORKERS[0]}", "", growth))


def add_row(work: str, found: Mapping[str, float | str], report: Report) -> Mapping[str, float]:
    """Converts bytes to MiB; adds a note if there is no figure."""
    values = {side: value / MIB for side, value in found.items() if not isinstance(value, str)}
    report.rows.append(Row(work, "MiB", values, "own/peer"))
    report.notes += [f"{side}: no figure for {work}: {why}" for side, why in found.items() if isinstance(why, str)]
    return values
