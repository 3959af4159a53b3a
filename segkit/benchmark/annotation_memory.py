"""Measures the memory that a large data set's annotations take in a process and its workers.

Measured in separate processes, as the sum of the proportional set sizes (PSS: a page that several processes share
counts in equal shares) of a loading process and its workers.
"""

from __future__ import annotations

import contextlib
import gc
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.datasets import CocoDetection

from segkit.benchmark.peak_memory import figures_of
from segkit.benchmark.report import OWN, PEER
from segkit.data.formats.coco import Coco
from segkit.data.loader import init_worker

CHUNK = 200  # images in a batch
LOADED = 4  # every fourth image is loaded with its masks, often enough to touch every page of mapped files


def annotation_memory(side: str, file: Path, workers: int, reads: int) -> float | str:
    """Bytes of a process with the data set and its ``workers``, or why there is no figure."""
    cache = {"SEGKIT_CACHE": str(file.parent)}  # the cache is next to the file
    found = figures_of(__name__, side, str(file), str(workers), str(reads), environment=cache)
    return found if isinstance(found, str) else found[0]


class Reader(TorchDataset):
    """Data set that reads images in turn; an item is the number of an image's objects.

    Args:
        read: takes an image's index and whether to load its masks; returns its number of objects.
        images: number of images.
    """

    def __init__(self, read: Callable[[int, bool], int], images: int) -> None:
        self.read = read
        self.images = images

    def __getitem__(self, number: int) -> int:
        return self.read(number % self.images, number % LOADED == 0)


def reader(side: str, file: Path) -> Reader:
    """The data set of a side."""
    if side == PEER:
        with contextlib.redirect_stdout(io.StringIO()):
            theirs = CocoDetection(str(file.parent), str(file))
        return Reader(lambda index, masks: len(theirs._load_target(theirs.ids[index])), len(theirs))
    ours = Coco(json=str(file), images=str(file.parent))

    def read(index: int, masks: bool) -> int:
        return len(ours.load(index).targets) if masks else sum(ours.label_counts(index).values())

    return Reader(read, len(ours))


def every_worker_all(reads: int, workers: int) -> Iterator[list[int]]:
    """Batches of indices such that each of a DataLoader's workers reads every image."""
    for start in range(0, reads, CHUNK):
        # The same list for all workers: separate lists would take more memory with more workers.
        yield from [list(range(start, min(start + CHUNK, reads)))] * workers


def total_memory(side: str, file: Path, workers: int, reads: int) -> tuple[float, int]:
    """Bytes of this process and its workers after ``reads`` images each, and the object count."""
    dataset = reader(side, file)
    gc.collect()
    batches = list(every_worker_all(reads, workers))
    set_up = init_worker if side == OWN else None
    loader: Any = DataLoader(dataset, batch_sampler=batches, num_workers=workers, worker_init_fn=set_up, collate_fn=sum)
    iterator = iter(loader)
    count = sum(next(iterator) for _ in batches)
    # The workers still run: they end with the iteration.
    return pss("self") + sum(pss(worker.pid) for worker in iterator._workers), count


def pss(pid: int | str) -> float:
    """A process's proportional set size in bytes (Linux)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("Pss:"))) * 2**10


if __name__ == "__main__":
    print(total_memory(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))[0])
