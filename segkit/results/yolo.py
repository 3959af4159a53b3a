"""Writes predictions as a YOLO data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from segkit.data.writers.yolo import YoloWriter, label_lines, write_data_file
from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.part_files import PartFiles
from segkit.results.source_images import Losses, targets_of, writable
from segkit.utils.whole_file import whole_file


@RESULT_WRITER_REGISTRY.register(name="yolo")
class YoloResultWriter(ResultWriter):
    """Writes a YOLO data set in the folder ``yolo``, to correct and train again.

    Its files are ``data.yaml``, ``images/train`` and ``labels/train``. Masks are polygons as
    :class:`segkit.data.writers.YoloWriter` writes them; scores are lost. The labels of an image are in
    the order of its detections.

    Args:
        output, classes, category_ids, parts: as of every writer.
        bridges: whether holes and further parts are joined to the polygon; otherwise holes are filled and the largest part
            is kept, and both are counted.
        images: ``copy`` or ``link`` the image files, or ``none``.
    """

    def __init__(
        self,
        output: Path,
        classes: Sequence[str],
        category_ids: Sequence[int],
        parts: PartFiles,
        *,
        bridges: bool = True,
        images: Literal["copy", "link", "none"] = "copy",
    ) -> None:
        super().__init__(output, classes, category_ids, parts)
        self.folder, self.bridges, self.images = self.output / "yolo", bridges, images
        self._losses = Losses(parts, "yolo")

    def files_of(self, stem: str) -> list[Path]:
        return [self.folder / "labels" / "train" / f"{stem}.txt"]

    def add(self, image: PredictedImage) -> None:
        losses: Counter[str] = Counter()
        lines = label_lines(targets_of(image), image.size, losses, bridges=self.bridges)
        if self.images != "none":
            path = self.folder / "images" / "train" / f"{image.stem}.png"
            writable(image, link=self.images == "link").save_to(path, YoloWriter.suffixes)
        with whole_file(self.files_of(image.stem)[0]) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self._losses.add(image, losses)

    def close(self) -> list[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_data_file(self.folder / "data.yaml", self.classes, ["train"])
        self._losses.report()
        return [self.folder]
