"""``segkit dataset tile``: cuts large images into a data set of tiles, with a map back."""

from __future__ import annotations

import json
import logging
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segkit.data.formats.base import Dataset
from segkit.data.formats.image_names import image_names
from segkit.data.transforms.cutting import cut_targets, stays
from segkit.data.writers.base import DatasetWriter, WritableImage
from segkit.dataset_tools.convert import writer_spec
from segkit.dataset_tools.incomplete import IncompleteFolder
from segkit.dataset_tools.source import open_data
from segkit.dataset_tools.unreadable import UnreadableImages
from segkit.dataset_tools.writing import check_output, make_output
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.lazy_targets import LazyTargets, Window
from segkit.structures.sample import Sample
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.structures.tiling import check_tiles, tile_windows
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError, UnreadableImage, counted, image_errors
from segkit.utils.images import ImageFile, ImageReader, LazyImage, Planes
from segkit.utils.images.stored_image import StoredImage
from segkit.utils.images.stored_writer import write_stored
from segkit.utils.progress import progress

logger = logging.getLogger(__name__)
MAP_FILE = "tiles.json"


@dataclass(frozen=True)
class TileOptions:
    """How images are cut.

    Attributes:
        size: (H, W) of a tile.
        overlap: pixels that neighbouring tiles share at least.
        min_visibility: share of its area that an object must have in a tile, 0 to 1.
        keep_empty: whether tiles without objects are written.
        planes: the plane of files that hold several.
    """

    size: tuple[int, int] = (1024, 1024)
    overlap: int = 128
    min_visibility: float = 0.0
    keep_empty: bool = True
    planes: Planes = field(default_factory=Planes)


@dataclass
class TileReport:
    """What was written, and what became of the objects.

    Attributes:
        reason: which format the data were taken for, and why.
        counts: ``images``, ``tiles``, ``empty`` tiles, ``objects``, their ``parts`` in tiles, parts that are ``cut`` or
            ``removed``, and objects that are ``lost``.
        losses: what the written format could not hold.
        unreadable: images, and tiles of large ones, that were skipped.
    """

    reason: str
    counts: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    unreadable: UnreadableImages = field(default_factory=UnreadableImages)

    def lines(self) -> list[str]:
        """The report in sentences."""
        c = self.counts
        return [
            f"read as {self.reason}",
            f"{counted(c['images'], 'image')}, {counted(c['tiles'], 'tile')} written"
            + (f", {c['empty']:,} without objects skipped" if c["empty"] else ""),
            f"{counted(c['objects'], 'object')} became {counted(c['parts'], 'object')} of tiles, {c['cut']:,} of them cut at a "
            "border",
            f"{counted(c['removed'], 'part')} of objects removed (min_visibility); objects in no tile: {c['lost']:,}",
            *(f"not held by the format: {count:,} {what}" for what, count in self.losses.items()),
            *self.unreadable.lines(),
        ]


def tile_dataset(
    source: str,
    output: str | Path,
    options: TileOptions,
    *,
    to: str = "coco",
    format: str | None = None,
    skip_unreadable: bool = False,
) -> TileReport:
    """Writes the tiles of all images of a data set as a data set of their own.

    Pixels are those that the files store: PNG for 8-bit grey and RGB, TIFF for all others. ``tiles.json`` lists for each
    tile its source file, its window there and the size of that image. Each image is read tile by tile.

    Args:
        source: folder or file of any format.
        output: a new or empty folder.
        options: how images are cut.
        to: the format to write.
        format: of ``source``; None: recognised by content.
        skip_unreadable: skip images that cannot be read; otherwise the first one is an error.
    Raises:
        SegkitError: the data cannot be read; the output folder has content; there is no such format to write.
    """
    check_tiles(options.size, options.overlap)
    if not 0 <= options.min_visibility <= 1:
        raise SegkitError(
            f"min_visibility: expected a share, 0 to 1; got {options.min_visibility}", key="min_visibility"
        )
    spec = writer_spec(to, {})
    check_output(output, source)
    data = open_data(source, format)
    report = TileReport(data.reason, unreadable=UnreadableImages(skip=skip_unreadable))
    datasets = list(data.splits.values())
    _check_same_classes(data.splits)
    folder = make_output(output)
    writer = DATASET_WRITER_REGISTRY.build(
        spec, output=folder, classes=datasets[0].classes, category_ids=datasets[0].category_ids, path="--to"
    )
    tiles: list[dict[str, Any]] = []
    images = [
        (split, dataset, i, name)
        for split, dataset in data.splits.items()
        for i, name in enumerate(image_names(dataset))
    ]
    with IncompleteFolder(folder, len(images)) as written:
        with writer, tempfile.TemporaryDirectory(prefix=".tiles-", dir=folder) as scratch:
            for dataset in datasets:
                dataset.reader = ImageReader(options.planes, "any")
            for split, dataset, i, name in progress(images, len(images), "images cut"):
                with report.unreadable.reading(name, split, UnreadableImage):
                    _tile_image(_Task(dataset, i, split, Path(scratch), writer, options), report, tiles)
                    written.done += 1
        if not report.counts["tiles"]:
            report.unreadable.require_others(len(images), source)
        report.losses = writer.losses
        with atomic_write(folder / MAP_FILE) as temporary:
            temporary.write_text(json.dumps({"tiles": tiles}, indent=1) + "\n", encoding="utf-8")
    return report


@dataclass(frozen=True)
class _Task:
    """One image to cut."""

    dataset: Dataset
    index: int
    split: str
    scratch: Path
    writer: DatasetWriter
    options: TileOptions


def _tile_image(task: _Task, report: TileReport, tiles: list[dict[str, Any]]) -> None:
    """Writes the tiles of one image, and adds them to the map."""
    dataset, options, counts = task.dataset, task.options, report.counts
    files = dataset.image_files()
    file = None if files is None else ImageFile(files[task.index], options.planes)
    with image_errors():
        sample, total = dataset.open(task.index), dataset.training_objects(task.index)
        whole = None if file is None or isinstance(sample.image, LazyImage) else file.read()
    height, width = int(sample.image.shape[1]), int(sample.image.shape[2])
    total_count = total.usable + total.crowd + total.empty
    found: Counter[tuple[Any, ...]] = Counter()
    for window in _windows((height, width), options):
        targets = sample.targets.read(window)[0] if isinstance(sample.targets, LazyTargets) else sample.targets
        kept, cut, removed, objects = _objects_of(targets, window, options)
        if not options.keep_empty and not bool((kept.labels != ALL_CLASSES).any()):
            counts["empty"] += 1
            continue
        found |= objects  # an object is in several tiles; equal ones are counted by their number in one tile
        counts.update(parts=len(kept), cut=cut, removed=removed)
        x0, y0, x1, y1 = window
        name = f"{_safe_stem(sample.file_name)}_y{y0:06d}_x{x0:06d}"
        stored = None
        with report.unreadable.reading(f"{sample.file_name} {window}", task.split, UnreadableImage), image_errors():
            stored = _stored(sample, file, whole, window)
        if stored is None:
            continue
        path = write_stored(task.scratch / task.split / f"{len(tiles)}" / name.rsplit("/")[-1], stored)
        relative = f"{name.rpartition('/')[0]}/{path.name}".lstrip("/")
        tiles.append(
            {
                "file_name": relative, "image_id": len(tiles) + 1, "split": task.split,
                "source": None if file is None else str(file.path), "source_name": sample.file_name,
                "source_size": [height, width], "window": [x0, y0, x1, y1],
            }
        )  # fmt: skip
        task.writer.write(WritableImage(relative, len(tiles), (y1 - y0, x1 - x0), kept, task.split, path))
        path.unlink()
        counts["tiles"] += 1
    counts.update(images=1, objects=total_count, lost=max(0, total_count - found.total()))


def _windows(size: tuple[int, int], options: TileOptions) -> list[Window]:
    grid = tile_windows(size, options.size, options.overlap).tolist()
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in grid]


def _objects_of(
    targets: Targets, window: Window, options: TileOptions
) -> tuple[Targets, int, int, Counter[tuple[Any, ...]]]:
    """The objects of a tile; how many of them are cut, how many were removed, and which objects of the image they are."""
    cut, before, remaining = cut_targets(targets, window)
    inside = remaining > 0
    kept = stays(cut, before, remaining, options.min_visibility)
    is_cut = kept & (remaining < before)
    marks = zip(
        targets.labels[kept].tolist(), targets.crowd[kept].tolist(), before[kept].tolist(),
        map(tuple, targets.boxes[kept].tolist()), strict=True,
    )  # fmt: skip
    return cut[kept], int(is_cut.sum()), int((inside & ~kept).sum()), Counter(marks)


def _stored(sample: Sample, file: ImageFile | None, whole: StoredImage | None, window: Window) -> StoredImage:
    """The stored samples of a tile; the pixels of the sample if its image is not a file."""
    x0, y0, x1, y1 = window
    if whole is not None:
        return replace(whole, pixels=whole.pixels[y0:y1, x0:x1])
    if file is not None:
        return file.read(window)
    pixels = sample.image[:, y0:y1, x0:x1].permute(1, 2, 0).numpy()
    return StoredImage(pixels, "rgb", 8)


def _safe_stem(name: str) -> str:
    """A relative name without its suffix; parts that lead upwards are dropped."""
    path = Path(name)
    parts = [part for part in path.with_suffix("").parts if part not in ("..", "/", "\\", ".") and ":" not in part]
    return "/".join(parts) or "image"


def _check_same_classes(splits: Mapping[str, Dataset]) -> None:
    """Raises a SegkitError if the splits have different classes: one data set has one list."""
    names: Sequence[str] | None = None
    for split, dataset in splits.items():
        if names is not None and list(dataset.classes) != list(names):
            raise SegkitError(
                f"the split {split} has the classes {', '.join(dataset.classes)}, another one {', '.join(names)}; tile "
                "them separately, with the classes of one"
            )
        names = dataset.classes
