"""Checks all images of a split, by several processes."""

from __future__ import annotations

import gc
import multiprocessing
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from segkit.data.formats import Dataset, ParsedDataset
from segkit.dataset_tools.check.coco_dataset import FaultyCoco
from segkit.dataset_tools.check.images import ImageFacts, LocalFault, check_image
from segkit.dataset_tools.check.objects import ImageObjects, check_objects, check_parts
from segkit.dataset_tools.check.stated import stated_objects, whole_dataset
from segkit.structures.targets import ALL_CLASSES
from segkit.utils.errors import SegkitError

CHUNK = 16  # images that a worker checks at once
MAX_PENDING_PIXELS = 1 << 24  # of masks whose parts are counted together
SIZES = re.compile(r"\d+ x \d+ pixels?,? but .*\d+ x \d+")  # in a reader's message about two sizes

Checked = tuple[ImageFacts, list[LocalFault]]


@dataclass(frozen=True)
class ImageScan:
    """Checks images of a split; pickled to the workers.

    Attributes:
        dataset: the split.
        files: path of each image; None: it has no file.
        pixels: whether to decode images.
        stride: of the finest feature level, in pixels.
        detections: the largest number of detections in an image.
        regions: labels of categories that are no classes: their objects are ignore regions.
    """

    dataset: Dataset
    files: Sequence[str | None]
    pixels: bool
    stride: float
    detections: int
    regions: tuple[int, ...] = ()

    def chunk(self, indices: Sequence[int]) -> list[Checked]:
        """Facts and faults of some images."""
        checked: list[Checked] = []
        waiting: list[tuple[Checked, ImageObjects]] = []
        pixels = 0
        for index in indices:
            result, objects = self._image(index)
            checked.append(result)
            if objects is not None and objects.targets.masks is not None:
                waiting.append((result, objects))
                pixels += objects.targets.masks.bits.numel()
            if pixels > MAX_PENDING_PIXELS:
                _add_parts(waiting)
                waiting, pixels = [], 0
        _add_parts(waiting)
        return checked

    def _image(self, index: int) -> tuple[Checked, ImageObjects | None]:
        """Checks the file of an image, and its objects but their parts."""
        dataset, file = self.dataset, self.files[index]
        try:
            targets = dataset.all_targets(index)
        except SegkitError as error:
            facts, faults = check_image(dataset, index, file, None, self.pixels)
            if facts.readable:
                is_parsed = isinstance(whole_dataset(dataset), FaultyCoco | ParsedDataset)
                kind = "invalid_annotation" if is_parsed else "unreadable_annotations"
                kind = "wrong_size" if SIZES.search(str(error)) else kind
                facts.consistent = False
                faults.append((kind, str(error), None, file or ""))
            return (facts, faults), None
        if self.regions:
            is_region = torch.isin(targets.labels, torch.tensor(self.regions))
            labels = targets.labels.masked_fill(is_region, ALL_CLASSES)
            targets = replace(targets, labels=labels, crowd=targets.crowd | is_region)
        stated = stated_objects(dataset, index, len(targets))
        facts, faults = check_image(dataset, index, file, stated.size, self.pixels)
        if not facts.readable and targets.masks is None and stated.size is None:
            return (facts, faults), None
        size = targets.masks.image_size if targets.masks is not None else dataset.size(index)
        objects = ImageObjects(targets, stated, size)
        exclusive = whole_dataset(dataset).exclusive
        faults += check_objects(objects, facts, stride=self.stride, detections=self.detections, exclusive=exclusive)
        return (facts, faults), objects


def _add_parts(waiting: Sequence[tuple[Checked, ImageObjects]]) -> None:
    """Adds the faults about parts and holes."""
    for position, many, faults in check_parts([objects for _, objects in waiting]):
        facts, listed = waiting[position][0]
        facts.one_of_many_parts = many
        listed += faults


def scan_images(scan: ImageScan, workers: int) -> Iterator[Checked]:
    """Facts and faults of all images, in their order.

    Args:
        scan: the check of an image.
        workers: processes; 0: all in this one.
    """
    count = len(scan.dataset)
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    if workers == 0 or len(chunks) < 2:
        for chunk in chunks:
            yield from scan.chunk(chunk)
        return
    with multiprocessing.Pool(min(workers, len(chunks)), _start_worker, (scan,)) as pool:
        for checked in pool.imap(_check_chunk, chunks):
            yield from checked


_scan: ImageScan | None = None  # of a worker process


def _start_worker(scan: ImageScan) -> None:
    global _scan
    gc.freeze()  # the collector writes to the objects that it visits, which copies the memory shared with the parent
    torch.set_num_threads(1)  # a forked process must not use the threads of its parent
    _scan = scan


def _check_chunk(indices: range) -> list[Checked]:
    assert _scan is not None
    return _scan.chunk(indices)
