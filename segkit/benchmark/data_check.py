"""Rows of the part ``data``: ``segkit dataset check`` beside other libraries."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import segkit
from segkit.benchmark.annotation_file import write_annotations
from segkit.benchmark.coco_images import JSON_NAME, prepare
from segkit.benchmark.options import Options
from segkit.benchmark.report import OWN, Report, Row

PYCOCOTOOLS, HOTCOCO = "pycocotools", "hotcoco"
# What the peers do with a file: pycocotools only reads it, hotcoco checks it.
PEERS = {
    PYCOCOTOOLS: "import sys; from pycocotools.coco import COCO; COCO(sys.argv[1])",
    HOTCOCO: "import sys, hotcoco; hotcoco.COCO(sys.argv[1]).healthcheck()",
}
# A small process between: Linux counts the memory that the parent has when it forks as the child's.
LAUNCHER = """
import json, subprocess, sys, time
started = time.perf_counter()
status = subprocess.call(sys.argv[2:])
seconds = time.perf_counter() - started
try:
    from resource import RUSAGE_CHILDREN, getrusage
    peak = getrusage(RUSAGE_CHILDREN).ru_maxrss
except ImportError:  # Windows
    peak = 0
with open(sys.argv[1], "w", encoding="utf-8") as file:
    json.dump([seconds, status, peak], file)
"""
MIB = 2**20
STATUSES = (0, 1)  # of check: 1 if it found errors
NOTE = (
    "check: the whole command in a process, its start included, and its highest resident memory; pycocotools opens the same "
    "file and checks nothing, hotcoco opens it and runs its healthcheck; no peer reads the images"
)


@dataclass(frozen=True)
class Process:
    """A process that has ended.

    Attributes:
        seconds: until its end.
        peak: bytes, its highest resident memory (with that of its largest child); 0 if unknown.
        status: of its exit.
        output: what it printed, errors included.
    """

    seconds: float
    peak: float
    status: int
    output: str


def measure_check(options: Options, report: Report) -> None:
    """Adds rows on checking annotations alone, and images with their pixels."""
    assert options.annotations and options.checked_images and options.size
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "instances.json"
        write_annotations(file, options.annotations, polygons=True)
        sides = {OWN: run_process(check_words(file, "--no-pixels"))}
        for peer, code in PEERS.items():
            if importlib.util.find_spec(peer) is None:
                report.notes.append(f"{peer} is not measured: it is not installed")
            else:
                sides[peer] = run_process([sys.executable, "-c", code, str(file)])
    add_rows(report, f"check of {options.annotations:,} annotations", sides)
    with tempfile.TemporaryDirectory() as name:
        prepare(replace(options, batch=options.checked_images), Path(name))
        done = run_process(check_words(Path(name) / JSON_NAME))
    height, width = options.size
    title = f"check of {options.checked_images:,} images of {height} x {width} with pixels"
    add_rows(report, title, {OWN: done})
    report.notes.append(NOTE)


def add_rows(report: Report, title: str, sides: dict[str, Process]) -> None:
    """Adds times, memory and ratios of the processes that succeeded, and notes on the others."""
    for side, process in list(sides.items()):
        statuses = STATUSES if side == OWN else (0,)
        if process.status not in statuses or (side == OWN and not process.output.strip()):
            last = (process.output.strip().splitlines() or ["it printed nothing"])[-1]
            report.notes.append(f"{side}: {title} failed (exit status {process.status}): {last}")
            del sides[side]
    report.rows.append(Row(title, "s", {side: process.seconds for side, process in sides.items()}))
    peaks = {side: process.peak / MIB for side, process in sides.items() if process.peak}
    report.rows.append(Row(f"{title}: memory", "MiB", peaks))
    if OWN in sides:
        for peer in sides.keys() - {OWN}:
            ratio = sides[OWN].seconds / sides[peer].seconds
            report.rows.append(Row(f"{title}: segkit's time by {peer}'s", "times", {OWN: ratio}))


def check_words(file: Path, *flags: str) -> list[str]:
    """The command that checks a data set."""
    return [sys.executable, "-m", "segkit", "dataset", "check", str(file), *flags]


def run_process(words: Sequence[str]) -> Process:
    """Runs a command to its end; its cache of annotations is empty."""
    root = str(Path(segkit.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryFile("w+") as output:
        environment = {**os.environ, "PYTHONPATH": path, "SEGKIT_CACHE": cache}
        figures = Path(cache) / "figures.json"
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(figures)]
        subprocess.run([*launcher, *words], stdout=output, stderr=subprocess.STDOUT, env=environment, check=True)
        seconds, status, peak = json.loads(figures.read_text(encoding="utf-8"))
        output.seek(0)
        return Process(seconds, peak * (1 if sys.platform == "darwin" else 1024), status, output.read())
