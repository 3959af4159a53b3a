"""The PASCAL VOC format: an XML file of boxes for each image, and masks as palette images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

from segkit.data.formats.id_map import check_size
from segkit.data.formats.parsed import ImageAnnotation, ObjectAnnotation, ParsedDataset, class_names, relative_name
from segkit.data.formats.parsing.file_errors import list_missing, parse_each
from segkit.data.formats.parsing.lost_counter import LostCounter
from segkit.data.formats.recognition import Recognition
from segkit.data.formats.voc.annotation import NO_AREA, VocFile, read_voc_file
from segkit.data.formats.voc.layout import (
    VOC_CLASSES,
    Labelmap,
    VocLayout,
    files_by_stem,
    find_layout,
    find_lists,
    is_voc,
    listed_stems,
    read_labelmap,
)
from segkit.data.formats.voc.masks import VOC_PALETTE, Color, match_segments, read_segments
from segkit.data.packed_list import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError, did_you_mean, first_few
from segkit.utils.paths import local_path
from segkit.utils.paths.missing_files import suggest_files

THREADS = 4  # that decode masks; zlib works outside of Python's lock


@DATASET_FORMAT_REGISTRY.register(name="voc")
class Voc(ParsedDataset):
    """A PASCAL VOC data set: boxes of ``Annotations``, masks of ``SegmentationObject``.

    Images are in ``JPEGImages``, or beside the XML files. A box of VOC counts pixels from 1 and holds both of its corners,
    so that ``xmin`` 1 and ``xmax`` 10 are the box from 0 to 10 here. A segment belongs to the box of its
    number, or, if the numbers do not follow the boxes, to the box of its class that overlaps its own most (IoU of at least
    0.5); its class is that of its pixels in ``SegmentationClass``. A segment
    without a box is an object, and a box without a segment is an object without a mask. Parts of persons are not objects.

    hotcoco's ``from_voc`` is not used: it reads no masks and no lists, and takes difficult objects for usual ones.

    Args:
        root: the folder with ``Annotations``, ``JPEGImages``, ..., or one that holds it.
        split: a list of ``ImageSets``: ``train``, as ``Segmentation/train`` if there is one, else ``Main/train``. By
            default all images with an annotation file or a mask.
        classes: class names in the order of the labels. By default those of ``labelmap.txt``, VOC's 20 if there are no
            others, or all names of the files, sorted. The indices of ``SegmentationClass`` follow the same order from 1.
        difficult: what ``difficult`` objects are: ``crowd``, neither learnt nor counted as in VOC's evaluation, or
            ``object``.
        void: what the void pixels (255) of ``SegmentationObject`` are: ``background``, or an ``ignore`` region. The void
            surrounds every object of VOC, and the box of the region is often the whole image.
        first_pixel: the coordinate of the first pixel in boxes: 1 as VOC, 0 as files of some tools.
    """

    def __init__(
        self,
        *,
        root: str,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        difficult: Literal["crowd", "object"] = "crowd",
        void: Literal["background", "ignore"] = "background",
        first_pixel: Literal[0, 1] = 1,
    ) -> None:
        for key, value, valid in (
            ("difficult", difficult, ("crowd", "object")),
            ("void", void, ("background", "ignore")),
            ("first_pixel", first_pixel, (0, 1)),
        ):
            if value not in valid:
                choices = " or ".join(map(str, valid))
                raise SegkitError(f"voc: '{key}' is {value!r}; expected {choices}", key=key, value=value)
        path = local_path(root, "VOC data set", kind="folder").absolute()
        layout = find_layout(path)
        self._difficult, self._void, self._first_pixel = difficult, void, first_pixel
        lost = LostCounter({NO_AREA: "a box needs xmin <= xmax and ymin <= ymax"})
        files = find_files(layout, listed_stems(layout, split))
        self._unannotated = [
            relative_name(f.image, layout.root) for f in files if f.annotation is None and f.masks is None
        ]

        def read(f: ImageFiles) -> tuple[ImageFiles, VocFile | None]:
            return f, None if f.annotation is None else read_voc_file(f.annotation, f.source, first_pixel, lost)

        parsed = list(parse_each(files, read, lambda f: f.annotation))
        labelmap = read_labelmap(layout.root)
        names = list(classes) if classes is not None else _names_of_indices(labelmap, parsed)
        palette = _palette(labelmap)
        with ThreadPoolExecutor(THREADS) as pool:
            drawn = ((f, pool.submit(self._image, f, file, layout, names, palette)) for f, file in parsed)
            images = PackedList(
                parse_each(list(drawn), lambda item: item[1].result(), lambda item: item[0].masks or item[0].annotation)
            )
        used = class_names(o for image in images for o in image.objects)
        found = used
        if classes is None and (labelmap is not None or _is_voc(used)):
            found = names
            unknown = next((name for name in used if name not in names), None)
            if unknown is not None:
                raise SegkitError(
                    f"{layout.root}: has objects of the class '{unknown}', which is not in labelmap.txt"
                    f"{did_you_mean(unknown, names)}",
                    key="classes",
                    value=unknown,
                )
        where = f"VOC data set {layout.root}" + (f", split '{split}'" if split else "")
        super().__init__(images, found, classes, where=where, lost=lost.lost_objects())

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        if not path.is_dir():
            return None
        try:
            layout = find_layout(path)
            lists = [name for name in find_lists(layout.root) if "/" not in name]
        except (SegkitError, OSError):
            return _recognize_folders(path)
        if not is_voc(layout):
            return None
        spec: dict[str, Any] = {"format": "voc", "root": str(path.absolute())}
        kinds = [folder.name for folder in (layout.annotations, layout.objects) if folder is not None]
        reason = f"VOC's XML files and masks in {' and '.join(kinds)}"
        splits = {name: {**spec, "split": name} for name in lists if name in ("train", "val", "test", "trainval")}
        if "train" in splits and "val" in splits:
            splits.pop("trainval", None)
        return Recognition(splits.get("train", spec), reason, splits)

    def notes(self) -> list[str]:
        if not self._unannotated:
            return []
        return [
            f"{len(self._unannotated)} listed images have no annotation file and no mask and count as images without "
            f"objects: {first_few(self._unannotated, 3)}"
        ]

    def _image(
        self,
        files: ImageFiles,
        parsed: VocFile | None,
        layout: VocLayout,
        names: Sequence[str],
        palette: dict[Color, int],
    ) -> ImageAnnotation:
        boxes = parsed.objects if parsed is not None else []
        size, void = parsed.size if parsed is not None else None, None
        objects = [ObjectAnnotation(b.name, box=b.box) for b in boxes]
        if files.masks is not None:
            name = relative_name(files.masks, layout.root)
            segments, void, found_size = read_segments(files.masks, files.classes, name, names, palette)
            objects = match_segments(boxes, segments, name)
            check_size(name, found_size, size, files.source)
            size = found_size
        if self._difficult == "crowd":
            for annotation, box in zip(objects, boxes, strict=False):
                annotation.crowd = box.difficult
        if void is not None and self._void == "ignore":
            objects.append(ObjectAnnotation(None, segmentation=void, crowd=True))
        return ImageAnnotation(str(files.image), relative_name(files.image, layout.root), size, objects, files.source)


def _recognize_folders(path: Path) -> Recognition | None:
    """Recognises folders called train, val, ... that hold images and XML files."""
    splits = {}
    for name in ("train", "val", "valid", "test"):
        if (path / name).is_dir():
            found = Voc.recognize(path / name)
            if found is not None:
                splits[name] = found.spec
    if not splits:
        return None
    return Recognition(next(iter(splits.values())), f"VOC's XML files in {', '.join(splits)}", splits)


class ImageFiles(NamedTuple):
    """The files of one image; those of its annotations may be None.

    ``source`` is the name of the annotations in messages.
    """

    image: Path
    annotation: Path | None
    masks: Path | None
    classes: Path | None
    source: str


def find_files(layout: VocLayout, stems: Sequence[str] | None) -> list[ImageFiles]:
    """The files of each image.

    Args:
        layout: of the data set.
        stems: names without suffix, in order; None: all that have an annotation file or a mask.
    Raises:
        SegkitError: an image is missing, or there are none.
    """
    images = files_by_stem(layout.images)
    annotations = files_by_stem(layout.annotations, [".xml"])
    masks, classes = (files_by_stem(folder, [".png"]) for folder in (layout.objects, layout.classes))
    if stems is None:
        stems = sorted({*annotations, *masks})
    missing = [stem for stem in stems if stem not in images and not _nested(layout.images, stem)]
    if missing:
        hint = suggest_files(missing, [name for names in images.values() for name in names])
        if not list_missing(layout.images, missing, hint):
            raise SegkitError(
                f"{layout.images}: {len(missing)} of the {len(stems)} images are missing: {first_few(missing)}{hint}"
            )
        stems = [stem for stem in stems if stem not in set(missing)]
    if not stems:
        raise SegkitError(f"{layout.root}: holds no images with annotations", value=str(layout.root))
    found = []
    for stem in stems:
        image = layout.images / images[stem][0] if stem in images else _nested(layout.images, stem)
        assert image is not None
        annotation = _one(layout.annotations, annotations, stem, ".xml")
        mask, mask_classes = _one(layout.objects, masks, stem, ".png"), _one(layout.classes, classes, stem, ".png")
        source = relative_name(annotation or mask or image, layout.root)
        found.append(ImageFiles(image, annotation, mask, mask_classes, source))
    return found


def _one(folder: Path | None, files: dict[str, list[str]], stem: str, suffix: str) -> Path | None:
    """The file of an image in a folder; None if there is none."""
    if folder is None:
        return None
    if stem in files:
        return folder / files[stem][0]
    nested = folder / f"{stem}{suffix}"
    return nested if "/" in stem and nested.is_file() else None


def _nested(folder: Path, stem: str) -> Path | None:
    """The image of a name with subfolders, which listing the folder does not find."""
    if "/" not in stem:
        return None
    parent = folder / os.path.dirname(stem)
    names = files_by_stem(parent).get(os.path.basename(stem)) if parent.is_dir() else None
    return parent / names[0] if names else None


def _is_voc(names: Sequence[str]) -> bool:
    return bool(names) and set(names) <= set(VOC_CLASSES)


def _names_of_indices(labelmap: Labelmap | None, parsed: Sequence[tuple[ImageFiles, VocFile | None]]) -> list[str]:
    """The names of the indices in SegmentationClass, from 1 on.

    They are those of ``labelmap.txt``, VOC's, or all that occur, sorted.
    """
    if labelmap is not None:
        return list(labelmap)
    used = sorted({o.name for _, file in parsed if file is not None for o in file.objects})
    return list(VOC_CLASSES) if _is_voc(used) or not used else used


def _palette(labelmap: Labelmap | None) -> dict[Color, int]:
    """The index of each colour in SegmentationClass."""
    if labelmap is None or None in labelmap.values():
        return VOC_PALETTE
    colors: dict[Color, int] = {(0, 0, 0): 0, (224, 224, 192): 255}
    return colors | {color: index for index, color in enumerate(labelmap.values(), start=1) if color is not None}
