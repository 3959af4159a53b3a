"""Overlays of many images: a PNG for each, under a unique name."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segkit.utils.errors import SegkitError
from segkit.utils.images import write_image
from segkit.utils.paths.file_names import unique_stems
from segkit.visualization.draw import draw_detections
from segkit.visualization.outlines import Style

if TYPE_CHECKING:
    import numpy as np

    from segkit.structures.detections import Detections

logger = logging.getLogger(__name__)


class OverlayWriter:
    """Draws each image's detections to a PNG in a folder.

    Args:
        folder: created when the first overlay is written.
        inputs: the file of each name that will be added; no overlay may replace one of them.
        classes: name of each label.
        color_by, style: see :func:`segkit.visualization.draw.draw_detections`.
    Raises:
        SegkitError: an overlay would replace an input.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        inputs: Mapping[str, Path],
        classes: Sequence[str],
        color_by: Literal["instance", "class"] = "instance",
        style: Style = "both",
    ) -> None:
        self.folder = Path(folder)
        self.paths = {
            name: self.folder / f"{stem}.png" for name, stem in zip(inputs, unique_stems(list(inputs)), strict=True)
        }
        self.classes = list(classes)
        self.color_by: Literal["instance", "class"] = color_by
        self.style: Style = style
        files = {os.path.realpath(path) for path in inputs.values()} | {os.path.abspath(p) for p in inputs.values()}
        for path in self.paths.values():
            if os.path.realpath(path) in files or os.path.abspath(path) in files:
                raise SegkitError(
                    f"the overlay {path} would replace an input; choose another output folder", value=str(path)
                )
            if path.is_dir():
                raise SegkitError(f"the overlay {path} cannot be written: a folder has this name", value=str(path))
        there = {path for path in self.folder.glob("*.png") if not path.name.startswith(".")}
        if earlier := len(there - set(self.paths.values())):
            logger.warning("%s holds %d pictures of other images, maybe of an earlier prediction", self.folder, earlier)

    def add(self, name: str, image: np.ndarray, detections: Detections) -> None:
        """Draws one image, uint8 [H, W, 3], and writes it."""
        picture = draw_detections(image, detections, self.classes, color_by=self.color_by, style=self.style)
        # Atomic, but without atomic_write's fsync, which takes longer than drawing.
        temporary = self.folder / f".{os.getpid()}.tmp.png"
        write_image(temporary, picture)
        os.replace(temporary, self.paths[name])

    def close(self) -> list[Path]:
        """Returns the folder, in a list."""
        return [self.folder]
