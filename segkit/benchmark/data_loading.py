"""Rows of the part ``data``: a loader of crops of a large TIFF, beside PNG files."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from segkit.benchmark.measure import median
from segkit.benchmark.options import Options
from segkit.benchmark.report import OWN, Report, Row
from segkit.data.formats.base import Dataset
from segkit.data.formats.coco import Coco
from segkit.data.loader import build_train_loader
from segkit.data.reader import open_cache
from segkit.data.samplers import ShuffleSampler
from segkit.data.transforms.base import Compose
from segkit.data.transforms.cropping import RandomCrop
from segkit.utils.images import ImageFile, write_image

WORKERS, BATCH = 4, 2
WARM_UP, BATCHES = 8, 30  # batches before and in a turn; each worker makes two of the former
OBJECT_AREA = 100_000  # pixels an object, on average
PNG, TIFF, CACHED = "PNG files", "the TIFF", "the TIFF, each read before (data.cache: memory)"
NOTE = (
    f"windows a second: a training loader of {WORKERS} workers, RandomCrop, a polygon for {OBJECT_AREA:,} pixels; PNG files: "
    "random windows of the TIFF"
)


def measure_loading(options: Options, report: Report, slide: Path, window: int) -> None:
    """Adds the windows a second of each kind of file, and the ratios of these.

    Args:
        options: turns.
        report: gets the rows.
        slide: a large TIFF.
        window: side of the crops.
    """
    assert options.runs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole, windows = write_datasets(slide, folder, window)
        # A data set of its own: subsets share the reader of theirs.
        cached = Coco(json=str(folder / "slide.json"), images=str(slide.parent)).subset([0] * len(whole))
        cached.reader = dataclasses.replace(cached.reader, cache=open_cache("memory", 2.0, "benchmark"))
        sides: Mapping[str, Dataset] = {TIFF: whole, CACHED: cached, PNG: windows}
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(1 + options.runs):
            for side, dataset in sides.items():
                rate = windows_a_second(dataset, window)
                if turn:  # the first one fills the cache
                    rates[side].append(rate)
    title, found = f"crops of {window} pixels, windows a second", {side: median(rates[side]) for side in rates}
    report.rows += [Row(f"{title}: {side}", "1/s", {OWN: rate}) for side, rate in found.items()]
    report.rows += [
        Row(f"{title}: {side} by {PNG}", "times", {OWN: found[side] / found[PNG]}) for side in (TIFF, CACHED)
    ]
    report.details.setdefault("windows a second", {})[title] = rates
    report.notes.append(NOTE)


def windows_a_second(dataset: Dataset, window: int) -> float:
    """The rate of a new loader, whose windows are the same each time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores
        loader = build_train_loader(
            dataset,
            Compose([RandomCrop(size=window)]),
            sampler=ShuffleSampler(len(dataset), 0),
            batch_size=BATCH,
            seed=0,
            num_workers=WORKERS,
        )
        batches = iter(loader)
        for _ in islice(batches, WARM_UP):
            pass
    started = time.perf_counter()
    count = sum(len(batch) for batch in islice(batches, BATCHES))
    return count / (time.perf_counter() - started)


def write_datasets(slide: Path, folder: Path, window: int) -> tuple[Dataset, Dataset]:
    """Objects of a slide, and windows of it as PNG files with theirs.

    Returns:
        the slide, as often as there are windows, and the windows.
    """
    file, generator = ImageFile(slide), np.random.default_rng(0)
    height, width = file.size
    corners = np.stack([np.cos(angles := np.linspace(0, 2 * np.pi, 15)), np.sin(angles)], 1) * 15
    centers = generator.uniform(15, [width - 15, height - 15], (max(1, height * width // OBJECT_AREA), 2))
    whole = write_coco(folder / "slide.json", {slide.name: (file.size, corners + centers[:, None])}, slide.parent)
    content: dict[str, tuple[tuple[int, int], np.ndarray]] = {}
    count = (WARM_UP + BATCHES) * BATCH
    for index in range(count):
        x, y = (int(generator.integers(0, side - window + 1)) for side in (width, height))
        write_image(folder / f"{index}.png", file.read((x, y, x + window, y + window)).pixels)
        shifted = centers - [x, y]
        near = ((shifted > -15) & (shifted < window + 15)).all(1)
        content[f"{index}.png"] = (window, window), corners + shifted[near][:, None]
    return whole.subset([0] * count), write_coco(folder / "windows.json", content, folder)


def write_coco(file: Path, content: Mapping[str, tuple[Sequence[int], np.ndarray]], images: Path) -> Coco:
    """A COCO data set of polygons: (H, W) and corners [N, P, 2] of each image by its file name."""
    entries: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "cell"}],
    }
    for name, (size, polygons) in content.items():
        entries["images"].append(
            {"id": len(entries["images"]) + 1, "file_name": name, "height": size[0], "width": size[1]}
        )
        for corners in polygons:
            low, high = corners.min(0), corners.max(0)
            entries["annotations"].append(
                {
                    "id": len(entries["annotations"]) + 1, "image_id": len(entries["images"]), "category_id": 1, "area": 1,
                    "iscrowd": 0, "bbox": [*low, *(high - low)], "segmentation": [corners.reshape(-1).tolist()],
                }
            )  # fmt: skip
    file.write_text(json.dumps(entries), encoding="utf-8")
    return Coco(json=str(file), images=str(images))
