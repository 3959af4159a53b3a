"""Writes predictions as LabelMe's files."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from segkit.data.writers.labelme import LabelMeWriter, labelme_content, labelme_shapes
from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.part_files import PartFiles
from segkit.results.source_images import Losses, targets_of, writable
from segkit.utils.whole_file import whole_file


@RESULT_WRITER_REGISTRY.register(name="labelme")
class LabelMeResultWriter(ResultWriter):
    """Writes ``labelme/STEM.json`` beside the image, to correct in LabelMe and train again.

    Shapes are those of :class:`segkit.data.writers.LabelMeWriter`: polygons along the edges of the pixels, mask shapes for
    objects with holes, rectangles without masks; ids and scores are in their descriptions.

    Args:
        output, classes, category_ids, parts: as of every writer.
        masks: whether all objects are mask shapes.
        images: ``copy`` or ``link`` the image files, or ``none``; the files then name the images where they are.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        parts: PartFiles,
        *,
        masks: bool = False,
        images: Literal["copy", "link", "none"] = "copy",
    ) -> None:
        super().__init__(output, classes, category_ids, parts)
        self.folder, self.as_masks, self.images = self.output / "labelme", masks, images
        self._losses = Losses(parts, "labelme")

    def files_of(self, stem: str) -> list[Path]:
        return [self.folder / f"{stem}.json"]

    def add(self, image: PredictedImage) -> None:
        losses: Counter[str] = Counter()
        path, found = self.files_of(image.stem)[0], image.detections
        rows = zip(image.object_ids.tolist(), found.scores.tolist(), strict=True)
        shapes = labelme_shapes(
            targets_of(image),
            self.classes,
            losses,
            as_masks=self.as_masks,
            descriptions=[f"id {number}, score {score:.4f}" for number, score in rows],
        )
        name = self._image_path(image)
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(labelme_content(shapes, name, image.size), indent=2), encoding="utf-8")
        self._losses.add(image, losses)

    def _image_path(self, image: PredictedImage) -> str:
        """Writes the image, if asked for; returns its path, relative to the file of its shapes."""
        if self.images == "none" and image.file is not None:
            return _relative(image.file, self.folder)
        saved = writable(image, link=self.images == "link").save_to(
            self.folder / f"{image.stem}.png", LabelMeWriter.suffixes
        )
        return saved.name

    def close(self) -> list[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._losses.report()
        return [self.folder]


def _relative(file: Path, folder: Path) -> str:
    """The path of a file from a folder, with forward slashes; absolute on another drive."""
    try:
        return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return file.resolve().as_posix()
