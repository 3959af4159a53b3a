"""Rows of the part ``data``: windows of a large TIFF, beside tifffile with zarr."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tifffile
import torch

from segkit.benchmark.data_loading import measure_loading
from segkit.benchmark.measure import PeakMemory, alternate, median
from segkit.benchmark.options import Options
from segkit.benchmark.peak_memory import figures_of
from segkit.benchmark.report import OWN, Report, Row
from segkit.benchmark.sides import installed
from segkit.utils.images.image_file import ImageFile

ZARR = "tifffile+zarr"
WINDOW, TILE = 512, 256
WINDOWS = 8  # windows of a turn
WINDOWS_FOR_MEMORY = 100  # read before the memory is taken
NOTE = (
    "windows: 512 x 512 pixels of 8-bit RGB at random places of a tiled TIFF (256 x 256, deflate), file and zarr array open; "
    "memory: of a process that reads 100 of them, beyond what it had before"
)
Reader = Callable[[int, int], np.ndarray]


def measure_windows(options: Options, report: Report) -> None:
    """Adds the time of a window, the memory of reading many, and the rate of a loader of crops."""
    assert options.slide and options.runs
    side = options.slide
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "slide.tif"
        write_slide(file, side)
        readers = {OWN: own_reader(file)}
        if installed({ZARR: "zarr"}, report):
            readers[ZARR] = zarr_reader(file)
        corners = random_corners(side, WINDOWS)
        for x, y in corners:
            first, *others = (read(x, y) for read in readers.values())
            if not all(np.array_equal(first, other) for other in others):
                report.notes.append(f"the windows at x {x}, y {y} differ")
        steps = {key: (lambda read=read: [read(x, y) for x, y in corners]) for key, read in readers.items()}
        times, _ = alternate(steps, options.runs, torch.device("cpu"), 0.0)
        seconds = {key: median(values) / WINDOWS for key, values in times.items()}
        memory = {key: figures_of(__name__, key, str(file), str(side)) for key in readers}
        measure_loading(options, report, file, window_side(side))
    title = f"a {window_side(side)} window of {side:,} x {side:,} pixels"
    report.rows.append(Row(title, "ms", {key: 1000 * value for key, value in seconds.items()}))
    if ZARR in seconds:
        ratio = seconds[OWN] / seconds[ZARR]
        report.rows.append(Row(f"{title}: segkit's time by {ZARR}'s", "times", {OWN: ratio}))
    peaks = {key: found[0] / 2**20 for key, found in memory.items() if not isinstance(found, str)}
    report.rows.append(Row(f"{title}: memory", "MiB", peaks))
    report.details.setdefault("seconds", {})[title] = times
    report.notes += [f"{key}: no memory of windows: {found}" for key, found in memory.items() if isinstance(found, str)]
    report.notes.append(NOTE)


def window_side(side: int) -> int:
    """Side of the windows of an image of ``side`` pixels."""
    return min(WINDOW, side)


def random_corners(side: int, count: int) -> list[tuple[int, int]]:
    """Left upper corners of windows inside an image of ``side`` pixels."""
    corners = np.random.default_rng(0).integers(0, side - window_side(side) + 1, (count, 2))
    return [(int(x), int(y)) for x, y in corners]


def own_reader(file: Path) -> Reader:
    """segkit's: [H, W, 3] of the window whose left upper corner is at (x, y)."""
    image = ImageFile(file)
    size = window_side(image.size[0])
    return lambda x, y: image.read((x, y, x + size, y + size)).pixels


def zarr_reader(file: Path) -> Reader:
    """tifffile's array of zarr, which reads the tiles that a slice touches."""
    import zarr

    array = zarr.open(tifffile.imread(file, aszarr=True), mode="r")
    assert isinstance(array, zarr.Array)
    size = window_side(array.shape[0])
    return lambda x, y: np.asarray(array[y : y + size, x : x + size])


def write_slide(file: Path, side: int) -> None:
    """Writes a tiled TIFF of ``side`` x ``side`` pixels, tile by tile."""
    generator = np.random.default_rng(0)
    patterns = [generator.integers(0, 60, (TILE, TILE, 3), np.uint8) for _ in range(16)]

    def tiles() -> Iterator[np.ndarray]:
        for index in range((-(-side // TILE)) ** 2):
            yield patterns[index % len(patterns)] + np.uint8(index % 180)

    tifffile.imwrite(
        file,
        tiles(),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric="rgb",
        compression="adobe_deflate",
        compressionargs={"level": 1},
    )


def memory_of_windows(key: str, file: Path, side: int) -> tuple[float, float]:
    """Bytes and seconds of reading many windows in this process."""
    make = own_reader if key == OWN else zarr_reader
    memory = PeakMemory(torch.device("cpu"))
    memory.reset()
    started = time.perf_counter()
    read = make(file)
    for x, y in random_corners(side, WINDOWS_FOR_MEMORY):
        read(x, y)
    return memory.read(), time.perf_counter() - started


if __name__ == "__main__":
    print(*memory_of_windows(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
