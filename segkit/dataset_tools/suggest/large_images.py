"""Large images: cut into tiles, which are read by window."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from segkit.data.formats.image_names import file_names
from segkit.dataset_tools.stats.measure import DatasetStats
from segkit.dataset_tools.suggest.name_groups import NameGroups
from segkit.dataset_tools.suggest.source import Source
from segkit.dataset_tools.suggest.validation import OwnValidation

MOST_PIXELS = 4096**2  # of an image at the model's scale that is evaluated as a whole
LEAST_TILE, STEP = 1024, 256  # pixels
OBJECTS_IN_TILE = 4  # sides of a large object (99th percentile) that a tile holds; tiles share one of them
EACH_FILE = r"(.*)"


def needs_tiles(stats: DatasetStats, factors: np.ndarray, most_pixels: float) -> bool:
    """Whether an image is too large to be evaluated as a whole.

    Args:
        stats: of the whole images.
        factors: [M], of the model's scale by that of each image's file.
        most_pixels: that fit into memory.
    """
    zoomed = (stats.sizes * factors[:, None]).prod(1)
    return bool(zoomed.max() > min(MOST_PIXELS, most_pixels))


def with_tiles(source: Source, stats: DatasetStats, factor: float) -> Source:
    """The data in tiles.

    Args:
        source: the data.
        stats: of the whole images.
        factor: of the model's scale; tiles of reduced images are larger.
    """
    large = float(np.percentile(stats.objects.side, 99))
    side = max(LEAST_TILE / min(factor, 1.0), OBJECTS_IN_TILE * large)
    size = math.ceil(side / STEP) * STEP
    how = {"size": size, "overlap": min(size // 2, math.ceil(large / 32) * 32)}
    spec = {"format": "tiles", "of": dict(source.spec), **how}
    val = source.val
    if val is not None:
        val_spec = {"format": "tiles", "of": dict(val.spec), **how}
        val = OwnValidation(val.name, val_spec, len(source.open(val_spec, "data.val")))
    height, width = stats.sizes[stats.sizes.prod(1).argmax()].tolist()
    reason = (
        f"{source.reason}. Images of up to {height} x {width} pixels are cut into tiles of {size}, which share "
        f"{how['overlap']} pixels; each is read by itself"
    )
    return replace(source, train=source.open(spec, "data.train"), spec=spec, val=val, reason=reason, tiled=True)


def file_groups(source: Source) -> NameGroups | None:
    """The tiles of each file, for the split; None: one file only, or the images are no files."""
    if not source.train.image_files():
        return None
    names, counts = np.unique(file_names(source.train), return_counts=True)
    if len(names) < 2:
        return None
    return NameGroups(EACH_FILE, len(names), int(counts.max()), str(names[0]), needed=True)
