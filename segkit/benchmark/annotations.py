"""Part ``annotations``: opening a large COCO JSON, segkit against pycocotools.

The file is opened in a separate process each time, so that only the memory of opening it is measured.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pycocotools.coco import COCO

from segkit.benchmark.annotation_file import PER_IMAGE, write_annotations
from segkit.benchmark.measure import PeakMemory, median
from segkit.benchmark.options import Options
from segkit.benchmark.peak_memory import figures_of
from segkit.benchmark.report import OWN, Report, Row
from segkit.data.formats.coco import Coco

DEFAULTS: dict[str, Any] = {"annotations": 1_000_000, "runs": 1}
PYCOCOTOOLS = "pycocotools"
MOST_OF_PEER = 1_000_000  # annotations; pycocotools takes about 3 KB for each
SMALL = "small.json"  # with one image, next to the large file
FIRST, SECOND = "first opening", "second opening"
MIB = 2**20
NOTES = [
    "memory: highest resident memory of a process that opens the file beyond what it had after it had opened a small one",
    "segkit checks every annotation when it opens a file for the first time, and then has it in its cache, from which it is "
    "opened the second time; pycocotools has no cache and opens a file each time as the first",
    "objects: as many as each side has for all images together",
]


def run(options: Options) -> Report:
    """Runs the measurements of this part, which its notes describe."""
    options = options.filled(**DEFAULTS)
    assert options.annotations and options.runs
    found: dict[str, dict[str, list[list[float]]]] = {FIRST: {}, SECOND: {}}
    with tempfile.TemporaryDirectory() as name:
        file, cache = Path(name) / "instances.json", Path(name) / "cache"
        write_annotations(file, options.annotations, polygons=True)
        write_annotations(file.with_name(SMALL), min(options.annotations, PER_IMAGE), polygons=True)
        size = file.stat().st_size
        situation = f"a COCO file of {options.annotations:,} annotations (polygons), {size / 1e6:,.0f} MB"
        report = Report.of("annotations", situation, options, PYCOCOTOOLS)
        for _ in range(options.runs):
            shutil.rmtree(cache, ignore_errors=True)
            for opening in (FIRST, SECOND):
                add_opening(found[opening], OWN, file, cache, report)
            if options.annotations <= MOST_OF_PEER:
                add_opening(found[FIRST], PYCOCOTOOLS, file, cache, report)
        kept = sum(file.stat().st_size for file in cache.glob("*")) if cache.exists() else 0
    if options.annotations > MOST_OF_PEER:
        report.notes.append(
            f"{PYCOCOTOOLS} is not measured: {options.annotations:,} annotations would take too much memory"
        )
    elif PYCOCOTOOLS in found[FIRST]:
        found[SECOND][PYCOCOTOOLS] = found[FIRST][PYCOCOTOOLS]
    for opening, sides in found.items():
        seconds = {side: median([one[0] for one in figures]) for side, figures in sides.items()}
        peaks = {side: median([one[1] for one in figures]) / MIB for side, figures in sides.items()}
        report.rows.append(Row(opening, "s", seconds, "peer/own"))
        report.rows.append(Row(f"{opening}: memory", "MiB", peaks, "own/peer"))
        if opening == FIRST:
            speeds = {side: size / 1e6 / duration for side, duration in seconds.items()}
            report.rows.append(Row(f"{opening}: read a second", "MB", speeds, "own/peer"))
    report.rows.append(Row("in the cache, an annotation", "bytes", {OWN: kept / options.annotations}))
    objects = {side: figures[0][2] for side, figures in found[FIRST].items()}
    report.rows.append(Row("objects", "", objects))
    report.details["openings"] = found
    if not kept:
        report.notes.append("the file is too small for the cache: it is read again each time")
    report.notes += NOTES
    return report


def add_opening(found: dict[str, list[list[float]]], side: str, file: Path, cache: Path, report: Report) -> None:
    """Opens the file in another process and records seconds, bytes and objects, or a note."""
    opened = figures_of(__name__, side, str(file), environment={"SEGKIT_CACHE": str(cache)})
    if isinstance(opened, str):
        report.notes.append(f"{side}: {opened}")
    else:
        found.setdefault(side, []).append(opened)


def opening(side: str, file: Path) -> tuple[float, float, int]:
    """Seconds and bytes that opening the file takes in this process, and its object count."""
    reader = own_reader if side == OWN else peer_reader
    reader(file.with_name(SMALL))  # loads all code that is needed
    memory = PeakMemory(torch.device("cpu"))
    memory.reset()
    started = time.perf_counter()
    count_objects = reader(file)
    return time.perf_counter() - started, memory.read(), count_objects()


def own_reader(file: Path) -> Callable[[], int]:
    dataset = Coco(json=str(file), images=str(file.parent))
    return lambda: int(dataset.object_counts().sum())


def peer_reader(file: Path) -> Callable[[], int]:
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO(str(file))
    return lambda: len(dataset.getAnnIds())


if __name__ == "__main__":
    print(*opening(sys.argv[1], Path(sys.argv[2])))
