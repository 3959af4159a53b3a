"""GeoJSON, as QuPath exports annotations, detections and cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.formats.geojson.features import CLASS_FILE, FeatureReader, Outline, PartsAnnotation
from segkit.data.formats.pairing import (
    ImagePairs,
    images_in,
    inner_folder,
    mapped_files,
    pair_files,
    recognize_pairs,
    split_folder,
)
from segkit.data.formats.parsed import ImageAnnotation, ObjectAnnotation, ParsedDataset, class_names, relative_name
from segkit.data.formats.parsing.file_errors import parse_each
from segkit.data.formats.parsing.json_stream import stream_list
from segkit.data.formats.recognition import Recognition
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.mask_parts import unite_parts
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError
from segkit.utils.images import is_image_name
from segkit.utils.images.listing import is_system_file
from segkit.utils.paths import local_path

SUFFIXES = (".geojson.gz", ".geojson", ".json.gz", ".json")
ANNOTATION_FOLDERS, IMAGE_FOLDERS = ("annotations", "geojson", "labels"), ("images", "image", "imgs")
LOOKED_AT = 20  # files that recognition opens; the first ones may be broken


@DATASET_FORMAT_REGISTRY.register(name="geojson")
class GeoJson(ParsedDataset):
    """Polygons of GeoJSON files, one an image, as QuPath exports them.

    A file is a FeatureCollection or a list of Features, packed by gzip or not. It belongs to the image of its name:
    ``slide.geojson`` or ``slide.tif.geojson`` to ``slide.tif``. Polygons and multipolygons with holes become masks, parts
    beyond the image are cut off. Points and lines have no area: they are skipped and counted. An object's class is its
    ``classification``.

    Args:
        root: the folder of the GeoJSON files (or of ``annotations`` and ``images``), or one file.
        images: the folder of the images, or one image; by default ``root`` or its subfolder ``images``.
        files: the GeoJSON file of each image, relative to the two folders, if their names do not agree.
        split: the subfolder of ``root`` to read.
        object_types: which of QuPath's types to read: ``annotation``, ``detection``, ``cell``, ``tile``; None: all.
        cell_outline: the outline of a cell to read: the ``cell`` or its ``nucleus``.
        class_name: class of objects without a classification.
        classes: names in the order of the labels; by default those of QuPath's ``classes.json`` in ``root``, then the
            others sorted.
        category_ids: the id of each class; by default 1, 2, ...
    Raises:
        SegkitError: no image has a GeoJSON file, or a file is not GeoJSON.
    """

    expected = "NAME.geojson with Features beside NAME.tif, or annotations/NAME.geojson and images/NAME.tif"

    def __init__(
        self,
        *,
        root: str,
        images: str | None = None,
        files: Mapping[str, str] | None = None,
        split: str | None = None,
        object_types: list[str] | None = None,
        cell_outline: Outline = "cell",
        class_name: str = "object",
        classes: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> None:
        path = local_path(root, "GeoJSON folder or file")
        top = path if path.is_dir() else path.parent
        base = split_folder(top, split)
        folder = inner_folder(base, ANNOTATION_FOLDERS) if path.is_dir() else base
        image_path = local_path(images, "folder of images") if images is not None else inner_folder(base, IMAGE_FOLDERS)
        if files is not None:
            found = mapped_files(files, image_path, folder)
        elif path.is_file():
            found = _one_file(path, image_path)
        else:
            own = [image_path] if image_path.is_file() else images_in(image_path)
            found = pair_files(own, annotation_files(folder), annotation_stem, "GeoJSON file", folder)
        self._reader = FeatureReader(class_name, object_types, cell_outline)

        def read(pair: tuple[Path, Path]) -> ImageAnnotation:
            image, file = pair
            name = relative_name(image, base if image.is_relative_to(base) else image.parent)
            return ImageAnnotation(str(image.absolute()), name, None, self._reader.read(file), str(file))

        entries = list(parse_each(found.pairs, read, lambda pair: pair[1]))
        listed, own_names = _listed_classes(top / CLASS_FILE), class_names(o for e in entries for o in e.objects)
        if classes is not None:  # QuPath lists classes of the project that may not occur
            listed = [name for name in listed if name in classes]
        names = [*listed, *(name for name in own_names if name not in listed)]
        names = names if names or classes is not None else [class_name]
        super().__init__(
            entries,
            names,
            classes,
            category_ids,
            where=f"GeoJSON files in {folder}",
            lost=self._reader.lost.lost_objects(),
        )
        self._found_notes = found.notes

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        if path.is_file():
            if not path.name.lower().endswith(SUFFIXES) or not _is_geojson(path):
                return None
            return Recognition(
                {"format": "geojson", "root": str(path.absolute())}, "a GeoJSON file of Features", certainty=0.9
            )
        spec: dict[str, Any] = {"format": "geojson", "root": str(path.absolute())}
        return recognize_pairs(path, spec, _count_pairs, "a GeoJSON file")

    def notes(self) -> list[str]:
        return [*self._found_notes, *self._reader.notes()]

    def _targets(self, annotation: ImageAnnotation, size: tuple[int, int]) -> Targets:
        parts = [(i, part) for i, o in enumerate(annotation.objects) for part in _parts(o)]
        if len(parts) == len(annotation.objects):
            return super()._targets(annotation, size)
        targets = super()._targets(replace(annotation, objects=[part for _, part in parts]), size)
        assert targets.masks is not None
        owners = [owner for owner, _ in parts]  # ascending, and each object has a part
        first = np.searchsorted(owners, np.arange(len(annotation.objects))).tolist()
        masks = unite_parts(targets.masks, owners, len(first))
        rest = targets[first]
        boxes = rest.boxes.where(~rest.has_mask[:, None], masks.boxes())
        return Targets(boxes, rest.labels, masks, rest.crowd, rest.has_mask)


def annotation_files(folder: Path) -> list[Path]:
    """The GeoJSON files of a folder, by their suffixes, sorted."""
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and not is_system_file(p.name))
    return [folder / name for name in names if name.lower().endswith(SUFFIXES) and name != CLASS_FILE]


def annotation_stem(name: str) -> str:
    """The name of an annotation file without its suffix: the name or the stem of its image."""
    suffix = next(suffix for suffix in SUFFIXES if name.lower().endswith(suffix))
    return name[: -len(suffix)]


def _parts(annotation: ObjectAnnotation) -> list[ObjectAnnotation]:
    """The polygons of an object as objects of their own, if one could lie in a hole of another."""
    if not isinstance(annotation, PartsAnnotation):
        return [annotation]
    return [
        ObjectAnnotation(annotation.category, segmentation=[outer], holes=holes, crowd=annotation.crowd)
        for outer, holes in annotation.parts
    ]


def _one_file(file: Path, images: Path) -> ImagePairs:
    """A single GeoJSON file and its image."""
    if images.is_file():
        return ImagePairs([(images, file)])
    return pair_files(images_in(images), [file], annotation_stem, "GeoJSON file", images)


def _listed_classes(file: Path) -> list[str]:
    """The class names of QuPath's ``classes.json``; an empty list if there is none."""
    if not file.is_file():
        return []
    try:
        items = list(stream_list(file, "pathClasses", named=True))
    except LookupError:
        return []
    names = [item.get("name") for item in items if isinstance(item, dict)]
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise SegkitError(f"{file}: the class name {wrong[0]!r:.60} is not text")
    return list(dict.fromkeys(str(name) for name in names))


def _count_pairs(path: Path) -> int:
    """Number of GeoJSON files of a folder that have an image; 0 if the first ones are something else."""
    folder, images = inner_folder(path, ANNOTATION_FOLDERS), inner_folder(path, IMAGE_FOLDERS)
    try:
        names = {name for p in images.iterdir() if is_image_name(p.name) for name in (p.name, p.stem)}
        files = [file for file in annotation_files(folder) if annotation_stem(file.name) in names]
    except OSError:
        return 0
    return len(files) if any(map(_is_geojson, files[:LOOKED_AT])) else 0


def _is_geojson(file: Path) -> bool:
    """Whether the first item of a file is a Feature, or the file has none."""
    try:
        first = next(iter(stream_list(file, "features")), None)
    except (SegkitError, LookupError):
        return False
    return isinstance(first, dict) and first.get("type") == "Feature"
