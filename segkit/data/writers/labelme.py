"""Writes LabelMe's JSON files, one beside each image."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from segkit.data.writers.base import DatasetWriter, WritableImage
from segkit.data.writers.image_names import ImagePaths
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.outline_polygons import mask_outlines
from segkit.structures.targets import ALL_CLASSES

VERSION = "5.5.0"  # of LabelMe, whose later versions read the same keys
IGNORED = "ignore regions, which LabelMe cannot hold"
CROWDS = "crowd regions, which LabelMe cannot hold"
EMPTY = "objects without a pixel"


@DATASET_WRITER_REGISTRY.register(name="labelme")
class LabelMeWriter(DatasetWriter):
    """Writes ``SPLIT/NAME.json`` beside ``SPLIT/NAME.png``.

    A mask becomes the polygon along the edges of its pixels, which segkit rasterises to the same mask, bit for bit; parts
    are polygons of one ``group_id``. A mask with holes becomes a ``mask`` shape. An object without a mask is a rectangle.
    LabelMe's own export draws the outlines of polygons as well, so that its masks are larger by a pixel at the right and
    bottom; with ``masks`` every object is a mask shape, which LabelMe restores exactly too. Crowds and ignore regions are
    lost.

    Args:
        masks: whether masks without holes are mask shapes too.
    """

    suffixes: ClassVar[Sequence[str]] = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

    def __init__(
        self, output: Path, classes: Sequence[str], category_ids: Sequence[int], *, masks: bool = False
    ) -> None:
        super().__init__(output, classes, category_ids)
        self._masks = masks
        self._names = ImagePaths()

    def write(self, image: WritableImage) -> None:
        stem = self.output / image.split / self._names.stem(image.name, image.split)
        file = self.save_image(image, stem.with_name(f"{stem.name}.png"))
        content: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": list(self._shapes(image)),
            "imagePath": file.name,
            "imageData": None,
            "imageHeight": image.size[0],
            "imageWidth": image.size[1],
        }
        stem.with_name(f"{stem.name}.json").write_text(json.dumps(content, indent=2), encoding="utf-8")

    def _shapes(self, image: WritableImage) -> Iterator[dict[str, Any]]:
        """The shapes of an image; objects that cannot be written are counted."""
        targets, groups = image.targets, 0
        masks = targets.masks
        outlines = mask_outlines(masks) if masks is not None else [[] for _ in range(len(targets))]
        crops = masks.crops() if masks is not None else []
        for index, (label, crowd, parts) in enumerate(
            zip(targets.labels.tolist(), targets.crowd.tolist(), outlines, strict=True)
        ):
            if label == ALL_CLASSES or crowd:
                self.losses[IGNORED if label == ALL_CLASSES else CROWDS] += 1
                continue
            name, (x0, y0, x1, y1) = self.classes[label], targets.boxes[index].tolist()
            if not targets.has_mask[index]:
                yield _shape(name, "rectangle", [[x0, y0], [x1, y1]])
            elif not parts:
                self.losses[EMPTY] += 1
            elif self._masks or any(holes for _, holes in parts):
                assert masks is not None
                left, top, right, bottom = masks.crop_boxes[index].tolist()
                corners = [[left, top], [right - 1, bottom - 1]]
                yield _shape(name, "mask", corners, mask=_encode(crops[index].cpu().numpy()))
            else:
                group = None
                if len(parts) > 1:
                    groups += 1
                    group = groups
                for ring, _ in parts:
                    yield _shape(name, "polygon", ring.tolist(), group=group)


def _shape(label: str, kind: str, points: list, group: int | None = None, mask: str | None = None) -> dict[str, Any]:
    """A shape in the form of LabelMe."""
    content: dict[str, Any] = {"label": label, "points": [[float(x), float(y)] for x, y in points], "group_id": group}
    return {**content, "description": "", "shape_type": kind, "flags": {}, "mask": mask}


def _encode(crop: np.ndarray) -> str:
    """A mask as PNG of one bit in base64."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(crop > 0).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")
