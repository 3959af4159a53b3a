"""The TiledPredictor: detections of large images, read and predicted in tiles."""

from __future__ import annotations

from typing import Any, Literal

from segkit.inference.predictor import Predictor
from segkit.inference.tiles.pipeline import TiledPipeline


class TiledPredictor(Predictor):
    """A Predictor that reads and predicts images larger than a tile in overlapping tiles.

    It is a :class:`Predictor` whose ``predict.tile`` and ``predict.overlap`` are arguments. Large files are read by window.
    Detections are merged by the rules of :mod:`segkit.inference.tiles.merging`.

    >>> predictor = TiledPredictor("output/cells/model_final.pth", tile=1024)
    >>> detections = predictor("slide.tif")

    Args:
        source: as for :class:`Predictor`.
        tile: side of a tile in pixels of the file.
        overlap: pixels that neighbouring tiles share at least; ``auto``: see
            :func:`segkit.inference.tiles.overlap.resolved_overlap`.
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
        configured = self.pipeline
        self.pipeline = TiledPipeline(
            configured.of_tile if isinstance(configured, TiledPipeline) else configured,
            tile=tile,
            overlap=overlap,
            batch_size=batch_size,
            object_sides=self._object_sides,
            detections_per_tile=getattr(self.model, "detections_per_image", None),
        )
