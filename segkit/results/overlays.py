"""Writes pictures of images with their detections."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.part_files import PartFiles
from segkit.utils.images import write_image
from segkit.visualization.draw import draw_detections
from segkit.visualization.outlines import Style


@RESULT_WRITER_REGISTRY.register(name="overlays")
class OverlayResultWriter(ResultWriter):
    """Draws each image's detections to ``overlays/STEM.png``.

    An object of a time series has the colour of its track, the same in all frames.

    Args:
        output, classes, category_ids, parts: as of every writer.
        color_by, style: see :func:`segkit.visualization.draw.draw_detections`.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        parts: PartFiles,
        *,
        color_by: Literal["instance", "class"] = "instance",
        style: Style = "both",
    ) -> None:
        super().__init__(output, classes, category_ids, parts)
        self.folder = self.output / "overlays"
        self.color_by: Literal["instance", "class"] = color_by
        self.style: Style = style

    def files_of(self, stem: str) -> list[Path]:
        return [self.folder / f"{stem}.png"]

    def add(self, image: PredictedImage) -> None:
        picture = draw_detections(
            image.picture,
            image.detections,
            self.classes,
            color_by=self.color_by,
            style=self.style,
            ids=None if image.track_ids is None else image.track_ids.tolist(),
        )
        # Atomic, but without atomic_write's fsync, which takes longer than drawing.
        temporary = self.folder / f".{image.stem}.{os.getpid()}.tmp.png"  # stems are unique among shards too
        write_image(temporary, picture)
        os.replace(temporary, self.files_of(image.stem)[0])

    def close(self) -> list[Path]:
        return [self.folder]
