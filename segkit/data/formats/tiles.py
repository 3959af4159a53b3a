"""The format ``tiles``: the tiles of the images of another data set, each read by window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segkit.data.formats.base import Dataset
from segkit.data.formats.build import build_dataset
from segkit.data.formats.objects import LostObjects, TrainingObjects, training_objects
from segkit.data.transforms.cutting import cut_targets, stays
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.lazy_targets import LazyTargets, Window
from segkit.structures.sample import Sample
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.structures.tiling import check_tiles, tile_windows
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageReader, LazyImage


@DATASET_FORMAT_REGISTRY.register(name="tiles")
class Tiles(Dataset):
    """Tiles of the images of another data set; each tile is an image of its own.

    Training and evaluation read the tile alone from files that are read by window (tiled TIFF, Zarr, slides); other files
    are decoded for each tile. Objects are cut to the tile, with the boxes of their remaining masks: an object on a border
    is an object of every tile that it touches, in evaluation too. An image smaller than a tile is one tile.

    Args:
        of: the spec of the data set.
        size: of a tile: one number of pixels for a square, or [height, width].
        overlap: pixels that neighbouring tiles share at least; the last tile of a row or column may share more.
        min_visibility: share of its area that an object must have in a tile, 0 to 1; others are removed from it and counted
            in the sample's ``dropped``. Crowd and ignore regions stay.
        keep_empty: whether tiles without objects are images of the data set. Otherwise all objects are read once, when the
            data set is first used.
        classes: class names, as in the other format.
        category_ids: id of each class, if the other format takes them.
    """

    def __init__(
        self,
        *,
        of: Mapping[str, Any],
        size: int | Sequence[int] = 1024,
        overlap: int = 128,
        min_visibility: float = 0.0,
        keep_empty: bool = True,
        classes: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> None:
        self.tile_size = _height_and_width(size)
        check_tiles(self.tile_size, overlap)
        if not 0 <= min_visibility <= 1:
            raise SegkitError(f"min_visibility: expected a share, 0 to 1; got {min_visibility}", key="min_visibility")
        self.overlap, self.min_visibility, self.keep_empty = overlap, min_visibility, keep_empty
        self.dataset = build_dataset(of, classes, category_ids, path="of")
        self.classes, self.category_ids = self.dataset.classes, self.dataset.category_ids
        self.frequencies = self.dataset.frequencies
        self._grid: tuple[np.ndarray, np.ndarray] | None = None
        self._empty = 0

    @property
    def reader(self) -> ImageReader:  # an attribute of other data sets
        """Reads the image files of the other data set."""
        return self.dataset.reader

    @reader.setter
    def reader(self, reader: ImageReader) -> None:
        self.dataset.reader, self._grid = reader, None  # the sizes may depend on the planes

    @property
    def image_ids(self) -> list[int]:  # type: ignore[override]  # likewise
        """1, 2, ...: the ids of the tiles."""
        return list(range(1, len(self) + 1))

    def __len__(self) -> int:
        return len(self._tiles()[0])

    def source(self, index: int) -> tuple[int, Window]:
        """Index of a tile's image in the other data set, and its window there."""
        images, windows = self._tiles()
        x0, y0, x1, y1 = windows[index].tolist()
        return int(images[index]), (x0, y0, x1, y1)

    def load(self, index: int) -> Sample:
        image_index, window = self.source(index)
        whole = self.dataset.open(image_index)
        x0, y0, x1, y1 = window
        if isinstance(whole.image, LazyImage):
            image = whole.image.read(window)
        else:
            image = whole.image[:, y0:y1, x0:x1].clone()
        objects = whole.targets
        touching = objects.read(window)[0] if isinstance(objects, LazyTargets) else objects
        targets, dropped = self._cut(touching, window)
        name, size = f"{whole.file_name}[{x0},{y0},{x1},{y1}]", (y1 - y0, x1 - x0)
        return Sample(image, targets, index + 1, name, size, None, dropped=dropped)

    def targets(self, index: int, window: Window | None = None) -> Targets:
        return self.window_targets(index, window)[0]

    def window_targets(self, index: int, window: Window | None) -> tuple[Targets, int]:
        image_index, tile = self.source(index)
        return self._cut(self.dataset.targets(image_index, tile), tile)

    def label_counts(self, index: int) -> dict[int, int]:
        labels, counts = np.unique(self.targets(index).labels.numpy(), return_counts=True)
        return {label: count for label, count in zip(labels.tolist(), counts.tolist(), strict=True) if label >= 0}

    def lost_objects(self) -> tuple[int, list[LostObjects]]:
        return self.dataset.lost_objects()

    def training_objects(self, index: int) -> TrainingObjects:
        return training_objects(*self.window_targets(index, None))

    def image_files(self) -> list[str] | None:
        files = self.dataset.image_files()
        return None if files is None else [files[i] for i in self._tiles()[0].tolist()]

    def size(self, index: int) -> tuple[int, int]:
        x0, y0, x1, y1 = self.source(index)[1]
        return y1 - y0, x1 - x0

    def describe(self) -> str:
        height, width = self.tile_size
        return f"tiles of {height} x {width} pixels ({self.overlap} shared) of {self.dataset.describe()}"

    def notes(self) -> list[str]:
        notes = [f"{len(self):,} tiles of {len(self.dataset):,} images"]
        notes += [f"{self._empty:,} tiles without objects are skipped (keep_empty: false)"] if self._empty else []
        return [*notes, *self.dataset.notes()]

    def _cut(self, targets: Targets, window: Window) -> tuple[Targets, int]:
        """The objects in a tile, and how many of those with a pixel in it are removed."""
        cut, before, remaining = cut_targets(targets, window)
        kept = stays(cut, before, remaining, self.min_visibility)
        return cut[kept], int(((remaining > 0) & ~kept).sum())

    def _tiles(self) -> tuple[np.ndarray, np.ndarray]:
        """Image [T] and window [T, 4] of each tile."""
        if self._grid is None:
            grids = [
                tile_windows(self.dataset.size(i), self.tile_size, self.overlap).numpy()
                for i in range(len(self.dataset))
            ]
            images = np.repeat(np.arange(len(grids), dtype=np.int32), [len(grid) for grid in grids])
            windows = np.concatenate([*grids, np.zeros((0, 4), np.int64)]).astype(np.int32)
            if not self.keep_empty:
                kept = np.array([self._has_objects(int(i), w) for i, w in zip(images, windows, strict=True)], np.bool_)
                self._empty = int((~kept).sum())
                images, windows = images[kept], windows[kept]
            self._grid = images, windows
        return self._grid

    def _has_objects(self, image: int, window: np.ndarray) -> bool:
        x0, y0, x1, y1 = window.tolist()
        found = self._cut(self.dataset.targets(image, (x0, y0, x1, y1)), (x0, y0, x1, y1))[0]
        return bool((found.labels != ALL_CLASSES).any())


def _height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    sides = [size, size] if isinstance(size, int) else list(size)
    if len(sides) != 2:
        raise SegkitError(
            f"size: expected one number of pixels, or [height, width]; got {sides}", key="size", value=size
        )
    return sides[0], sides[1]
