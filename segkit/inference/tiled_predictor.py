"""The TiledPredictor: detections of large images, read and predicted in tiles."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import torch

from segkit.inference.inputs import to_image_tensor
from segkit.inference.predictor import Predictor
from segkit.inference.tiles.pipeline import TiledPipeline
from segkit.structures.detections import Detections
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.errors import image_errors
from segkit.utils.paths import local_path


class TiledPredictor(Predictor):
    """A Predictor that reads and predicts images larger than a tile in overlapping tiles.

    Large files are read by window. Detections are merged by the rules of :mod:`segkit.inference.tiles.merging`.

    >>> predictor = TiledPredictor("output/cells/model_final.pth", tile=1024)
    >>> detections = predictor("slide.tif")

    Args:
        source: as for :class:`Predictor`.
        tile: side of a tile in pixels of the file.
        overlap: pixels that neighbouring tiles share at least; ``auto``: a quarter of the tile.
        batch_size: number of tiles that go through the network together.
        arguments: the other arguments of :class:`Predictor`.
    Raises:
        SegkitError: the tile has no pixels, or the overlap is not 1 to tile - 1.
    """

    def __init__(
        self,
        source: Any,
        *,
        tile: int = 1024,
        overlap: int | Literal["auto"] = "auto",
        batch_size: int = 1,
        **arguments: Any,
    ) -> None:
        super().__init__(source, batch_size=batch_size, **arguments)
        plain = self.pipeline
        self.pipeline = TiledPipeline(
            self.model, plain.transforms, plain.post_processing, tile=tile, overlap=overlap, batch_size=batch_size
        )

    def _predict(self, sources: Sequence[Any]) -> list[Detections]:
        return self._predict_samples([self._opened(source) for source in sources])

    def _opened(self, source: Any) -> Sample:
        """The sample of a source; a large file is not read."""
        name = str(source) if isinstance(source, (str, os.PathLike)) else ""
        if name:
            with image_errors():
                lazy = self.reader.open_if_large(local_path(name, "image", kind="file"))
            if lazy is not None:
                return Sample(lazy, Targets.empty(lazy.size), 0, name, lazy.size, None)  # type: ignore[arg-type]
        channels = getattr(self.model, "pixel_mean", torch.zeros(3)).numel()
        return self._sample(to_image_tensor(source, self.reader, channels), name)
