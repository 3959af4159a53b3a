"""ImageJ's and Fiji's regions of interest: ``.roi`` files and ``RoiSet.zip``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from segkit.data.formats.imagej_rois.files import class_prefix, read_rois, roi_bytes
from segkit.data.formats.imagej_rois.shapes import RoiShape, shape_of
from segkit.data.formats.objects import LostObjects
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
from segkit.data.formats.recognition import Recognition
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.masks import InstanceMasks
from segkit.structures.runs import fill_runs
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError
from segkit.utils.images import is_image_name
from segkit.utils.images.listing import is_system_file
from segkit.utils.paths import local_path

SUFFIXES = (".roi", ".zip")
ENDINGS = ("_roiset", "-roiset", " roiset", "_rois", "-rois", "_roi")
ROI_FOLDERS, IMAGE_FOLDERS = ("rois", "roi", "annotations", "labels"), ("images", "image", "imgs")
LOOKED_AT = 20  # files that recognition opens; the first ones may be broken
SHOWN = 3


@dataclass
class RoiAnnotation(ObjectAnnotation):
    """An object whose mask is drawn from a ROI.

    ``segmentation`` is an empty list, so that the object counts as one with a mask.
    """

    shape: RoiShape = field(default_factory=RoiShape)


@DATASET_FORMAT_REGISTRY.register(name="imagej_rois")
class ImageJRois(ParsedDataset):
    """Regions of interest of ImageJ or Fiji, one ``.roi`` or ``.zip`` file an image.

    A file belongs to the image of its name: ``cells.zip``, ``cells_RoiSet.zip`` or ``cells.tif.roi`` to ``cells.tif``;
    ``RoiSet.zip`` to the only image of its folder. Polygons, freehand and traced regions, rectangles, ovals, ellipses and
    composites are drawn by ImageJ's rules, parts beyond the image are cut off. Lines and points have no area: they are
    skipped and counted. The package roifile reads the files.

    Args:
        root: the folder of the ROI files (or of ``rois`` and ``images``), or one file.
        images: the folder of the images, or one image; by default ``root`` or its subfolder ``images``.
        files: the ROI file of each image, relative to the two folders, if their names do not agree.
        split: the subfolder of ``root`` to read.
        class_from: ``name``: the class is the ROI's name without its number (``nucleus_12``); ``group``: its group
            (``group2``); ``none``: all are of ``class_name``.
        class_name: class of ROIs without such a name or group.
        classes: names in the order of the labels; by default those found, sorted.
        category_ids: the id of each class; by default 1, 2, ...
    Raises:
        SegkitError: roifile is missing, no image has a ROI file, or a file is damaged.
    """

    expected = "NAME.roi, NAME.zip or NAME_RoiSet.zip beside NAME.tif, or in the folder rois"

    def __init__(
        self,
        *,
        root: str,
        images: str | None = None,
        files: Mapping[str, str] | None = None,
        split: str | None = None,
        class_from: Literal["none", "name", "group"] = "none",
        class_name: str = "object",
        classes: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> None:
        path = local_path(root, "folder or file of ROIs")
        base = split_folder(path if path.is_dir() else path.parent, split)
        folder = inner_folder(base, ROI_FOLDERS) if path.is_dir() else base
        image_path = local_path(images, "folder of images") if images is not None else inner_folder(base, IMAGE_FOLDERS)
        own = [image_path] if image_path.is_file() else images_in(image_path)
        if files is not None:
            found = mapped_files(files, image_path, folder)
        else:
            found = find_pairs(own, [path] if path.is_file() else roi_files(folder), folder)
        self._class_from, self._class_name = class_from, class_name
        self._counts: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)

        def read(pair: tuple[Path, Path]) -> ImageAnnotation:
            image, file = pair
            name = relative_name(image, base if image.is_relative_to(base) else image.parent)
            return ImageAnnotation(str(image.absolute()), name, None, self._objects(file), str(file))

        entries = list(parse_each(found.pairs, read, lambda pair: pair[1]))
        names = class_names(o for entry in entries for o in entry.objects)
        lost = [LostObjects(reason, n, tuple(self._examples[reason])) for reason, n in sorted(self._counts.items())]
        super().__init__(
            entries,
            names or ([class_name] if classes is None else []),
            classes,
            category_ids,
            where=f"ImageJ ROIs in {folder}",
            lost=lost,
        )
        self._found_notes = found.notes

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        spec: dict[str, Any] = {"format": "imagej_rois", "root": str(path.absolute())}
        if path.is_file():
            return Recognition(spec, "a file of ImageJ ROIs", certainty=0.9) if _holds_rois(path) else None
        return recognize_pairs(path, spec, _count_pairs, "a file of ImageJ ROIs")

    def notes(self) -> list[str]:
        return self._found_notes

    def _objects(self, file: Path) -> list[ObjectAnnotation]:
        """The ROIs of a file that have an area."""
        objects: list[ObjectAnnotation] = []
        for where, roi in read_rois(file):
            shape = shape_of(roi, where)
            if shape is None:
                reason = f"ROIs without an area, of the type {str(roi.roitype.name).lower()}"
                self._counts[reason] += 1
                if len(self._examples[reason]) < SHOWN:
                    self._examples[reason].append(where)
            else:
                objects.append(RoiAnnotation(self._category(roi, where), segmentation=[], shape=shape))
        return objects

    def _category(self, roi: Any, where: str) -> str:
        if self._class_from == "group":
            return f"group{roi.group}" if roi.group else self._class_name
        if self._class_from == "name":
            # The archive's member has the name that the ROI manager shows.
            shown = roi.name or Path(where.rpartition(": ")[2]).stem
            return class_prefix(shown) or self._class_name
        return self._class_name

    def _object_regions(self, objects: Sequence[ObjectAnnotation], size: tuple[int, int]) -> np.ndarray:
        bounds = [o.shape.bounds() for o in objects if isinstance(o, RoiAnnotation)]
        return np.array(bounds, np.float64).reshape(-1, 4)

    def _targets(self, annotation: ImageAnnotation, size: tuple[int, int]) -> Targets:
        objects = annotation.objects
        masks = draw_shapes([o.shape for o in objects if isinstance(o, RoiAnnotation)], size, annotation.source)
        labels = [self._label_of[o.category] for o in objects if o.category is not None]
        return Targets(masks.boxes(), torch.tensor(labels, dtype=torch.int64), masks)


def draw_shapes(shapes: Sequence[RoiShape], size: tuple[int, int], source: str) -> InstanceMasks:
    """The masks of ROIs on an image of ``size`` (H, W).

    Args:
        shapes: one an object.
        size: of the image; what lies outside is cut.
        source: the ROI file, for messages.
    Raises:
        SegkitError: an outline is too long to be drawn.
    """
    drawn = []
    for index, shape in enumerate(shapes):
        runs = shape.runs(size)
        if runs is None:
            raise SegkitError(f"{source}: the outline of ROI {index} crosses too many rows to be drawn")
        drawn.append(runs)
    owners = np.repeat(np.arange(len(drawn)), [len(rows) for rows, _, _ in drawn])
    rows, starts, ends = (
        (np.concatenate(parts) for parts in zip(*drawn, strict=True)) if drawn else np.zeros((3, 0), np.int64)
    )
    bits, crop_boxes = fill_runs(owners, rows, starts, ends, len(drawn))
    return InstanceMasks(torch.from_numpy(bits), torch.from_numpy(crop_boxes), size)


def find_pairs(images: Sequence[Path], files: Sequence[Path], where: Path) -> ImagePairs:
    """The ROI file of each image, by their names."""
    if len(images) == 1 and len(files) == 1:
        return ImagePairs([(images[0], files[0])])
    if len(images) == 1 and len(files) > 1 and not any(roi_stem(file.name) in images[0].name for file in files):
        raise SegkitError(
            f"{where}: holds {len(files)} ROI files ({files[0].name}, ...) and one image; save the ROIs of an image in one "
            f"file, here {images[0].stem}.zip, with the ROI Manager's 'More > Save'"
        )
    return pair_files(images, files, roi_stem, "ROI file", where)


def roi_files(folder: Path) -> list[Path]:
    """The ``.roi`` and ``.zip`` files of a folder, sorted."""
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and not is_system_file(p.name))
    return [folder / name for name in names if name.lower().endswith(SUFFIXES)]


def roi_stem(name: str) -> str:
    """The name of a ROI file without suffix and ``_RoiSet``: the name or the stem of its image."""
    stem = name[: -len(".roi")] if name.lower().endswith(SUFFIXES) else name
    ending = next((ending for ending in ENDINGS if stem.lower().endswith(ending)), "")
    return stem[: len(stem) - len(ending)]


def _count_pairs(path: Path) -> int:
    """Number of ROI files of a folder that have an image."""
    folder, images = inner_folder(path, ROI_FOLDERS), inner_folder(path, IMAGE_FOLDERS)
    try:
        names = {name for p in images.iterdir() if is_image_name(p.name) for name in (p.name, p.stem)}
        files = roi_files(folder)
    except OSError:
        return 0
    # Files of no image's name, as ROIs saved one by one, are recognised too: opening them says what is wrong.
    found = [file for file in files if roi_stem(file.name) in names] or (files if names else [])
    return len(found) if any(map(_holds_rois, found[:LOOKED_AT])) else 0


def _holds_rois(file: Path) -> bool:
    """Whether a file is a ``.roi``, or an archive whose first ``.roi`` begins as ImageJ's do."""
    if file.suffix.lower() != ".zip":
        return file.suffix.lower() == ".roi"
    try:
        return next(roi_bytes(file))[1][:4] == b"Iout"
    except SegkitError:
        return False
