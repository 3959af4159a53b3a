"""Prediction of large images in tiles."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch

from segkit.data.transforms import InvertibleCompose
from segkit.inference.image_pipeline import InferencePipeline
from segkit.inference.tiles.merging import merge_tiles
from segkit.postprocess.base import PostProcessing
from segkit.structures.detections import Detections
from segkit.structures.sample import Batch, Sample
from segkit.structures.targets import Targets
from segkit.structures.tiling import check_tiles, tile_windows
from segkit.utils.errors import SegkitError, UnreadableImage
from segkit.utils.images.image_source import Window
from segkit.utils.images.lazy_image import LazyImage

logger = logging.getLogger(__name__)

AUTO_SHARE = 4  # overlap: auto is this part of a tile


class TiledPipeline(InferencePipeline):
    """An inference pipeline that predicts images larger than a tile in overlapping tiles.

    Windows of lazy images are read when their tiles are predicted. The model's own limits, as ``detections_per_image``, apply
    to each tile. An image that fits in a tile is predicted as without tiles.

    Args:
        model: has ``predict(images, output_sizes)``.
        transforms: ``data.test_transforms``, applied to each tile.
        postprocess: applied to the merged detections of the whole image.
        tile: side of a tile in pixels of the file.
        overlap: pixels that neighbouring tiles share at least; ``auto``: a quarter of the tile, at least 1.
        batch_size: number of tiles that go through the model together.
    Raises:
        SegkitError: the tile has no pixels, or the overlap is not 1 to tile - 1.
    """

    def __init__(
        self,
        model: Any,
        transforms: InvertibleCompose,
        postprocess: PostProcessing,
        *,
        tile: int,
        overlap: int | Literal["auto"] = "auto",
        batch_size: int = 1,
    ) -> None:
        super().__init__(model, transforms, postprocess)
        self.tile, self.overlap, self.batch_size = tile, resolved_overlap(tile, overlap), batch_size

    @property
    def replaces_model(self) -> bool:
        return True

    @property
    def reads_windows(self) -> bool:
        return True

    def predict(self, samples: Sequence[Sample]) -> list[Detections]:
        return [self.postprocess(found).to("cpu") for found in self.predict_batch(Batch(samples))]

    def predict_batch(self, batch: Batch) -> list[Detections]:
        """Detections of opened samples in the pixels of their files, before post-processing.

        The test transforms are applied to each tile here, so the samples come without them.

        Raises:
            UnreadableImage: a window cannot be read; the message names it.
        """
        if all(max(sample.size) <= self.tile for sample in batch.samples):
            return super().predict_batch(Batch([self._transformed(sample) for sample in batch.samples]))
        return [self._predict_one(sample) for sample in batch.samples]

    def _transformed(self, sample: Sample) -> Sample:
        if isinstance(sample.image, LazyImage):
            sample = replace(sample, image=sample.image.read())
        # An own generator: a test transform that draws must not change the global one.
        return self.transforms(sample, torch.Generator().manual_seed(0))

    def _predict_one(self, sample: Sample) -> Detections:
        windows = tile_windows(sample.size, (self.tile, self.tile), self.overlap)
        found: list[Detections] = []
        for some in windows.split(self.batch_size):
            tiles = [self._transformed(_tile_of(sample, (x0, y0, x1, y1))) for x0, y0, x1, y1 in some.tolist()]
            for one in super().predict_batch(Batch(tiles)):
                if len(windows) > 1 and one.has_masks:  # masks of the tile's pixels, not M x M probabilities
                    masks = one.masks
                    assert masks is not None
                    one = Detections.from_masks(masks, one.scores, one.labels, one.boxes)
                found.append(one.to("cpu") if len(windows) > 1 else one)
        return found[0] if len(windows) == 1 else merge_tiles(found, windows, sample.size)


def resolved_overlap(tile: int, overlap: int | Literal["auto"]) -> int:
    """The overlap in pixels; ``auto`` is a quarter of the tile.

    Raises:
        SegkitError: the tile has no pixels, or the overlap is not 1 to tile - 1.
    """
    if tile < 1:
        raise SegkitError(f"predict.tile: a tile has at least one pixel; got {tile}", key="predict.tile", value=tile)
    if overlap == "auto":
        pixels = max(1, tile // AUTO_SHARE) if tile > 1 else 0
        logger.info("predict.overlap: auto is %d pixels, a quarter of the tile", pixels)
    else:
        pixels = overlap
    if not 1 <= pixels < tile:
        raise SegkitError(
            f"predict.overlap: expected 1 to {tile - 1} pixels, less than predict.tile; got {overlap}. Without shared pixels "
            "it cannot be decided which pieces are one object",
            key="predict.overlap",
            value=overlap,
        )
    check_tiles((tile, tile), pixels)
    return pixels


def _tile_of(sample: Sample, window: Window) -> Sample:
    """The part of an opened sample in a window, as an image of its own without targets."""
    x0, y0, x1, y1 = window
    size = (y1 - y0, x1 - x0)
    if isinstance(sample.image, LazyImage):
        try:
            image = sample.image.read(window)
        except UnreadableImage as error:
            raise UnreadableImage(f"{sample.file_name}, window {x0},{y0},{x1},{y1}: {error}") from error
    else:
        image = sample.image[:, y0:y1, x0:x1]
    name = f"{sample.file_name}[{x0},{y0},{x1},{y1}]"
    return replace(
        sample, image=image, targets=Targets.empty(size), size=size, file_name=name, annotations=None, geometry=None
    )
