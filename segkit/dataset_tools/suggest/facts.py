"""What a suggestion starts from: the data set, its measurements, the machine."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch

from segkit.data.formats.image_names import image_names
from segkit.dataset_tools.stats.measure import DatasetStats, measure
from segkit.dataset_tools.suggest.large_images import file_groups, needs_tiles, with_tiles
from segkit.dataset_tools.suggest.memory import most_evaluated_pixels
from segkit.dataset_tools.suggest.name_groups import NameGroups, find_name_groups
from segkit.dataset_tools.suggest.scale import choose_scale
from segkit.dataset_tools.suggest.source import Source
from segkit.engine.channel_checks import image_channels
from segkit.utils.errors import SegkitError

FEW_OBJECTS = 10  # of a class


@dataclass(frozen=True)
class Facts:
    """What the rules look at.

    Attributes:
        source: the data.
        stats: their measurements.
        device: ``cpu``, ``cuda`` or ``mps``.
        memory: free bytes.
        channels: of the images, if they are chosen or neither grey nor RGB; None: the model gets RGB.
        bf16: whether the device has bf16 arithmetic.
        cores: processors of this process.
        name_groups: of the training images; None: their names form none.
    """

    source: Source
    stats: DatasetStats
    device: str
    memory: float
    channels: int | None
    bf16: bool = False
    cores: int = 1
    name_groups: NameGroups | None = None

    @property
    def masks(self) -> bool:
        """Whether any object has a mask."""
        return bool(self.stats.objects.masked.any())

    @property
    def quick(self) -> bool:
        """Whether steps are expensive, so that models and crops are small."""
        return self.device != "cuda"


def check_trainable(source: Source) -> None:
    """Raises a SegkitError if there is nothing to train on, before anything is measured."""
    if len(source.train) == 0:
        raise SegkitError(f"{source.train.describe()}: there are no images to train on", key="data.train")
    if not source.train.classes:
        raise SegkitError(f"{source.train.describe()}: there are no classes to train on", key="data.train")


def check_objects(source: Source, stats: DatasetStats) -> None:
    """Raises a SegkitError if no measured image has an object."""
    if len(stats.objects):
        return
    found = [
        f"{number} {what}"
        for number, what in (
            (stats.objects.crowds, "crowd regions"),
            (stats.objects.ignored, "ignore regions"),
            (stats.objects.empty, "objects without area"),
        )
        if number
    ]
    only = f"; there are only {', '.join(found)}" if found else ""
    raise SegkitError(
        f"{source.train.describe()}: none of the {stats.measured:,} images has an object to train on{only} "
        f"({source.reason})",
        key="data.train",
    )


def gather(source: Source, device: str, memory: float, max_images: int) -> Facts:
    """Measures the data.

    Raises:
        SegkitError: there are no images, no classes or no objects.
    """
    check_trainable(source)
    stats = _measure(source, max_images)
    check_objects(source, stats)
    chosen = choose_scale(stats.objects.side, stats.objects.image, stats.sizes, float("inf"))
    if needs_tiles(stats, chosen.factors(stats.sizes), most_evaluated_pixels(memory)):
        source = with_tiles(source, stats, chosen.zoom)
        stats = _measure(source, max_images)
        check_objects(source, stats)
    return facts_of(source, stats, device, memory)


def facts_of(source: Source, stats: DatasetStats, device: str, memory: float) -> Facts:
    """The facts about data that are measured already.

    Args:
        source: the data.
        stats: their measurements.
        device: ``cpu``, ``cuda`` or ``mps``.
        memory: free bytes.
    """
    channels = image_channels(source.train)
    is_rgb = channels in (None, 3) and source.train.reader.channels in (None, "any")
    groups = file_groups(source) if source.tiled else find_name_groups(image_names(source.train))
    bf16 = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Facts(source, stats, device, memory, None if is_rgb else channels, bf16, cores, groups)


def _measure(source: Source, max_images: int) -> DatasetStats:
    try:
        return measure(source.train, max_images=max_images)
    except SegkitError as error:
        raise SegkitError(
            f"{error} (segkit dataset check lists all faults of the data)", key=error.key, value=error.value
        ) from error


def objects_in_crop(counts: np.ndarray, zoomed: np.ndarray, crop: int) -> float:
    """Number of objects of a crowded training crop.

    It is the 99th percentile over the images; in each the objects are taken as evenly spread.

    Args:
        counts: [M], objects of each image.
        zoomed: [M, 2], height and width of each image at the model's scale.
        crop: side of the crops.
    """
    share = np.minimum(zoomed, crop).prod(1) / zoomed.prod(1)
    return float(np.percentile(counts * share, 99))


def rare_classes(stats: DatasetStats) -> dict[str, int]:
    """Classes with too few measured objects to learn from, and their numbers of objects."""
    counts = zip(stats.classes, stats.class_objects.tolist(), strict=True)
    return {name: count for name, count in counts if count < FEW_OBJECTS}
