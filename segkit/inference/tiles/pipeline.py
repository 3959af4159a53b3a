"""Prediction of large images in tiles."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from segkit.inference.image_pipeline import InferencePipeline
from segkit.inference.tiles.merging import TileMerger
from segkit.inference.tiles.overlap import resolved_overlap
from segkit.structures.detections import Detections
from segkit.structures.object_sides import ObjectSides
from segkit.structures.sample import Batch, Sample
from segkit.structures.targets import Targets
from segkit.structures.tiling import tile_windows
from segkit.utils.errors import UnreadableImage
from segkit.utils.images.image_source import Window
from segkit.utils.images.lazy_image import LazyImage

logger = logging.getLogger(__name__)


class TiledPipeline(InferencePipeline):
    """An inference pipeline that predicts images larger than a tile in overlapping tiles.

    Windows of lazy images are read when their tiles are predicted. The model's own limits, as ``detections_per_image``, apply
    to each tile; tiles that reach them are counted in a warning. An image that fits in a tile is predicted as without tiles.

    Args:
        of_tile: the pipeline that predicts a tile as an image of its own, test-time augmentation included. Its
            post-processing is applied to the merged detections of the whole image only.
        tile: side of a tile in pixels of the file.
        overlap: pixels that neighbouring tiles share at least; ``auto``: see
            :func:`segkit.inference.tiles.overlap.resolved_overlap`.
        batch_size: number of tiles that go through the model together.
        object_sides: of the training objects, for ``auto``; None: not known.
        detections_per_tile: the most that the model returns for one image, to count the tiles that reach it; None: no limit.
    Raises:
        SegkitError: the tile has no pixels, or the overlap is not 1 to tile - 1.
    """

    def __init__(
        self,
        of_tile: InferencePipeline,
        *,
        tile: int,
        overlap: int | Literal["auto"] = "auto",
        batch_size: int = 1,
        object_sides: ObjectSides | None = None,
        detections_per_tile: int | None = None,
    ) -> None:
        super().__init__(of_tile.model, of_tile.transforms, of_tile.post_processing)
        self.of_tile, self.tile, self.batch_size = of_tile, tile, batch_size
        self.detections_per_tile = detections_per_tile
        self.overlap = resolved_overlap(tile, overlap, object_sides)

    @property
    def replaces_model(self) -> bool:
        return True

    @property
    def takes_opened_images(self) -> bool:
        return True

    @property
    def reads_windows(self) -> bool:
        return True

    def predict_opened(self, samples: Sequence[Sample]) -> list[Detections]:
        return self.predict_batch(Batch(samples))

    def predict_batch(self, batch: Batch) -> list[Detections]:
        """Detections of opened samples in the pixels of their files, before post-processing.

        Raises:
            UnreadableImage: a window cannot be read; the message names it.
        """
        if all(max(sample.size) <= self.tile for sample in batch.samples):
            return self.of_tile.predict_opened([_loaded(sample) for sample in batch.samples])
        return [self._predict_one(sample) for sample in batch.samples]

    def _predict_one(self, sample: Sample) -> Detections:
        if max(sample.size) <= self.tile:
            return self.of_tile.predict_opened([_loaded(sample)])[0]
        windows = tile_windows(sample.size, (self.tile, self.tile), self.overlap)
        merger, full = TileMerger(windows, sample.size), 0
        limit = self.detections_per_tile
        for some in windows.split(self.batch_size):
            tiles = [_tile_of(sample, (x0, y0, x1, y1)) for x0, y0, x1, y1 in some.tolist()]
            for found in self.of_tile.predict_opened(tiles):
                full += limit is not None and len(found) >= limit
                merger.add(found)
        if full:
            logger.warning(
                "%s: %d of %d tiles have as many detections as the model returns for one, which is %d "
                "(model.roi_heads.detections_per_image): objects may be missing there; raise it, or use smaller tiles",
                _name(sample), full, len(windows), limit,
            )  # fmt: skip
        return merger.finish()


def _name(sample: Sample) -> str:
    """The image for messages."""
    return sample.file_name or str(getattr(sample.image, "path", "the image"))


def _loaded(sample: Sample) -> Sample:
    """A sample whose image is read."""
    return replace(sample, image=sample.image.read()) if isinstance(sample.image, LazyImage) else sample


def _tile_of(sample: Sample, window: Window) -> Sample:
    """The part of an opened sample in a window, as an image of its own without targets."""
    x0, y0, x1, y1 = window
    size = (y1 - y0, x1 - x0)
    if isinstance(sample.image, LazyImage):
        try:
            image = sample.image.read(window)
        except UnreadableImage as error:
            file = "" if _name(sample) in str(error) else f"{_name(sample)}: "
            raise UnreadableImage(f"{file}{error}; it is needed for the tile {x0},{y0},{x1},{y1}") from error
    else:
        image = sample.image[:, y0:y1, x0:x1]
    name = f"{sample.file_name}[{x0},{y0},{x1},{y1}]"
    return replace(
        sample, image=image, targets=Targets.empty(size), size=size, file_name=name, annotations=None, geometry=None
    )
