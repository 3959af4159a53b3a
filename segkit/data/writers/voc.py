"""Writes PASCAL VOC data sets: boxes as XML, masks as palette images, lists of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import torch

from segkit.data.formats.voc.masks import VOC_PALETTE, VOID
from segkit.data.writers.base import DatasetWriter, WritableImage
from segkit.data.writers.image_names import ImagePaths
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageFile

IGNORED = "ignore regions without a mask, which VOC cannot hold"
OVERLAPS = "objects whose pixels are covered by another one"
HIDDEN = "objects without a visible pixel, which keep their box"
EMPTY = "objects without a pixel"
ROUNDED = "boxes rounded to whole pixels"
BEYOND = "objects after the first 254 of an image, which keep their box"
SPACED = "class names, which lose the spaces at their ends"
MAX_OBJECTS = VOID - 1  # with a mask in one image, the values of SegmentationObject


@DATASET_WRITER_REGISTRY.register(name="voc")
class VocWriter(DatasetWriter):
    """Writes images, XML files, palette images of masks, and lists, in the folders of VOC.

    Masks of one image share a map: where two overlap, the later object keeps the pixels. The first 254 objects of an image
    have masks, the others only boxes; there are at most 254 classes. Boxes are whole pixels, from 1. Crowds are
    ``difficult`` objects, and ignore regions void. ``labelmap.txt`` has the names of the classes in the order of their
    indices. Lists of all images are in ``ImageSets/Main``, and of those with masks in ``ImageSets/Segmentation``.
    """

    def __init__(self, output: Path, classes: Sequence[str], category_ids: Sequence[int]) -> None:
        super().__init__(output, classes, category_ids)
        if len(self.classes) > MAX_OBJECTS:
            raise SegkitError(f"voc: there are {len(self.classes)} classes; the format holds {MAX_OBJECTS}")
        if spaced := sum(name != name.strip() for name in self.classes):
            self.losses[SPACED] += spaced
        self._names = ImagePaths()
        self._lists: dict[str, dict[str, list[str]]] = {"Main": {}, "Segmentation": {}}
        self._palette = [value for color in VOC_PALETTE for value in color]

    def write(self, image: WritableImage) -> None:
        stem = self._names.stem(image.name, image.split, flat=True)
        file = self.save_image(image, self.output / "JPEGImages" / f"{stem}.png")
        self._lists["Main"].setdefault(image.split, []).append(stem)
        if image.targets.masks is not None and bool(image.targets.has_mask.any()):
            self._write_masks(image, stem)
            self._lists["Segmentation"].setdefault(image.split, []).append(stem)
        xml = self.output / "Annotations" / f"{stem}.xml"
        xml.parent.mkdir(exist_ok=True)
        xml.write_text(self._xml(image, file), encoding="utf-8")

    def close(self) -> None:
        for kind, lists in self._lists.items():
            for split, stems in lists.items():
                file = self.output / "ImageSets" / kind / f"{split}.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
        colors = list(VOC_PALETTE)
        lines = [f"{name}:{','.join(map(str, colors[k]))}::" for k, name in enumerate(["background", *self.classes])]
        (self.output / "labelmap.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _write_masks(self, image: WritableImage, stem: str) -> None:
        """Writes the two maps; the number of an object is its position in the XML file."""
        targets, masks = image.targets, image.targets.masks
        assert masks is not None
        objects, classes = np.zeros(image.size, np.uint8), np.zeros(image.size, np.uint8)
        ids = np.zeros(len(targets), np.int64)
        kept = _kept(targets)
        ids[kept[:MAX_OBJECTS]] = np.arange(1, min(len(kept), MAX_OBJECTS) + 1)
        self._count(BEYOND, int(targets.has_mask[kept[MAX_OBJECTS:]].sum()))
        ids[(targets.labels == ALL_CLASSES).numpy()] = VOID
        columns = (masks.crops(), masks.crop_boxes.tolist(), ids.tolist(), targets.labels.tolist())
        for crop, (x0, y0, x1, y1), number, label in zip(*columns, strict=True):
            if number == 0:
                continue
            inside = crop.numpy() > 0
            objects[y0:y1, x0:x1][inside] = number
            classes[y0:y1, x0:x1][inside] = VOID if number == VOID else label + 1
        visible = np.bincount(objects.reshape(-1), minlength=256)[ids]
        areas = masks.areas().numpy()
        is_object = (ids > 0) & (ids != VOID) & targets.has_mask.numpy()
        self._count(OVERLAPS, int((is_object & (visible < areas) & (visible > 0)).sum()))
        self._count(HIDDEN, int((is_object & (visible == 0)).sum()))
        for folder, pixels in (("SegmentationObject", objects), ("SegmentationClass", classes)):
            self._save(pixels, self.output / folder / f"{stem}.png")

    def _save(self, pixels: np.ndarray, path: Path) -> None:
        from PIL import Image

        path.parent.mkdir(exist_ok=True)
        image = Image.fromarray(pixels)
        image.putpalette(self._palette)
        image.save(path)

    def _xml(self, image: WritableImage, file: Path) -> str:
        """The annotation file of an image that was written to ``file``."""
        targets, (height, width) = image.targets, image.size
        ignored, boxes = targets.labels == ALL_CLASSES, targets.boxes
        kept = _kept(targets)
        self._count(IGNORED, int((ignored & ~targets.has_mask).sum()))
        self._count(EMPTY, int((targets.degenerate() & ~ignored).sum()))
        self._count(ROUNDED, int((boxes[kept] != boxes[kept].round()).any(1).sum()))
        pixel = ImageFile(file).read((0, 0, 1, 1)).pixels
        depth = 1 if pixel.ndim == 2 else pixel.shape[2]
        lines = [
            "<annotation>",
            f"  <filename>{escape(file.name)}</filename>",
            f"  <size><width>{width}</width><height>{height}</height><depth>{depth}</depth></size>",
            f"  <segmented>{int(bool(targets.has_mask.any()))}</segmented>",
        ]
        for index in kept:
            x0, y0, x1, y1 = boxes[index].tolist()
            left, top = int(np.floor(x0)) + 1, int(np.floor(y0)) + 1
            corners = {
                "xmin": left,
                "ymin": top,
                "xmax": max(left, int(np.ceil(x1))),
                "ymax": max(top, int(np.ceil(y1))),
            }
            box = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
            name = escape(self.classes[int(targets.labels[index])])
            difficult = f"<difficult>{int(targets.crowd[index])}</difficult>"
            lines.append(f"  <object><name>{name}</name>{difficult}<bndbox>{box}</bndbox></object>")
        return "\n".join([*lines, "</annotation>\n"])

    def _count(self, reason: str, count: int) -> None:
        if count:
            self.losses[reason] += count


def _kept(targets: Targets) -> list[int]:
    """Indices of the objects and crowds that have a box, which the XML file lists."""
    return torch.nonzero(~targets.degenerate() & (targets.labels != ALL_CLASSES))[:, 0].tolist()
