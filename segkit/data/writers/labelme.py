"""Writes LabelMe's JSON files, one beside each image."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from segkit.data.writers.base import DatasetWriter, WritableImage
from segkit.data.writers.image_names import ImagePaths
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.outline_polygons import mask_outlines
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.whole_file import whole_file

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
        shapes = labelme_shapes(image.targets, self.classes, self.losses, as_masks=self._masks)
        content = labelme_content(shapes, file.name, image.size)
        with whole_file(stem.with_name(f"{stem.name}.json")) as temporary:
            temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")


def labelme_content(shapes: Iterable[dict[str, Any]], image: str, size: tuple[int, int]) -> dict[str, Any]:
    """What LabelMe's file of an image holds.

    Args:
        shapes: of :func:`labelme_shapes`.
        image: path of the image, relative to the file.
        size: (H, W) of the image.
    """
    return {
        "version": VERSION,
        "flags": {},
        "shapes": list(shapes),
        "imagePath": image,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }


def labelme_shapes(
    targets: Targets,
    classes: Sequence[str],
    losses: Counter[str],
    *,
    as_masks: bool = False,
    descriptions: Sequence[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """The shapes of an image's objects.

    Args:
        targets: the objects.
        classes: name of each label.
        losses: counts what cannot be written.
        as_masks: whether masks without holes are mask shapes too.
        descriptions: text of each object.
    """
    groups = 0
    masks = targets.masks
    outlines = mask_outlines(masks) if masks is not None else [[] for _ in range(len(targets))]
    crops = masks.crops() if masks is not None else []
    for index, (label, crowd, parts) in enumerate(
        zip(targets.labels.tolist(), targets.crowd.tolist(), outlines, strict=True)
    ):
        if label == ALL_CLASSES or crowd:
            losses[IGNORED if label == ALL_CLASSES else CROWDS] += 1
            continue
        name, (x0, y0, x1, y1) = classes[label], targets.boxes[index].tolist()
        text = "" if descriptions is None else descriptions[index]
        if not targets.has_mask[index]:
            yield _shape(name, "rectangle", [[x0, y0], [x1, y1]], text)
        elif not parts:
            losses[EMPTY] += 1
        elif as_masks or any(holes for _, holes in parts):
            assert masks is not None
            left, top, right, bottom = masks.crop_boxes[index].tolist()
            corners = [[left, top], [right - 1, bottom - 1]]
            yield _shape(name, "mask", corners, text, mask=_encode(crops[index].cpu().numpy()))
        else:
            group = None
            if len(parts) > 1:
                groups += 1
                group = groups
            for ring, _ in parts:
                yield _shape(name, "polygon", ring.tolist(), text, group=group)


def _shape(
    label: str, kind: str, points: list, description: str, group: int | None = None, mask: str | None = None
) -> dict[str, Any]:
    """A shape in the form of LabelMe."""
    content: dict[str, Any] = {"label": label, "points": [[float(x), float(y)] for x, y in points], "group_id": group}
    return {**content, "description": description, "shape_type": kind, "flags": {}, "mask": mask}


def _encode(crop: np.ndarray) -> str:
    """A mask as PNG of one bit in base64."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(crop > 0).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")
