"""One mask file for each object, as in the Data Science Bowl 2018."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from segkit.data.formats.class_names import default_category_ids
from segkit.data.formats.label_map_file import JPEG_SUFFIXES, read_samples, refuse_jpeg
from segkit.data.formats.label_pairs.layout import IMAGE_FOLDERS, MASK_FOLDERS, find_flat_layout
from segkit.data.formats.pairing import recognize_pairs, split_folder
from segkit.data.formats.parsed import relative_name
from segkit.data.formats.pixel_dataset import PixelDataset, targets_of
from segkit.data.formats.recognition import Recognition
from segkit.data.formats.recognition.folder_contents import folder_names
from segkit.data.packed_list import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError, did_you_mean, first_few
from segkit.utils.images import ImageFiles
from segkit.utils.paths import local_path

UNNAMED = ""  # class of masks that lie in no subfolder


@dataclass(frozen=True)
class MaskFiles:
    """An image, and the mask files of its objects by class, sorted."""

    image: Path
    folder: Path
    masks: dict[str, list[str]]


@DATASET_FORMAT_REGISTRY.register(name="mask_folder")
class MaskFolder(PixelDataset):
    """Images with a folder of masks each, one file an object; masks may overlap.

    This is the layout of the Data Science Bowl 2018: ``ROOT/ID/images/ID.png`` and ``ROOT/ID/masks/*.png``, or
    ``ROOT/images/NAME.png`` and ``ROOT/masks/NAME/*.png``. Subfolders of the folder of masks are classes. A pixel of any
    value but 0 belongs to the object. Masks are read with the image; empty ones are dropped there and counted.

    Args:
        root: the data set's folder.
        split: the subfolder of ``root`` to read, as ``stage1_train``; None: the folder itself.
        class_name: the class of masks that lie in no subfolder.
        classes: names in the order of the labels; by default those found, sorted.
        category_ids: the id of each class; by default 1, 2, ...
    Raises:
        SegkitError: no image has a folder of masks, or there are files of an unknown class.
    """

    expected = "ID/images/ID.png and ID/masks/*.png, or images/NAME.png and masks/NAME/*.png, one mask file an object"

    def __init__(
        self,
        *,
        root: str,
        split: str | None = None,
        class_name: str = "object",
        classes: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> None:
        top = local_path(root, "data set folder", kind="folder")
        self.root = split_folder(top, split)
        found = scan_mask_folders(self.root)
        with_masks = [entry for entry in found if entry.folder.is_dir()]
        self._without = [relative_name(entry.image, self.root) for entry in found if not entry.folder.is_dir()]
        if not with_masks:
            splits = [name for name in folder_names(top) if scan_mask_folders(top / name)] if not found else []
            hint = f"; set split to one of {', '.join(splits)}" if splits else ""
            raise SegkitError(
                f"{self.root}: no image has a folder of masks; expected {self.expected}{hint}",
                key="root",
                value=root,
            )
        self._entries = PackedList(with_masks)
        counts: Counter[str] = Counter()
        for entry in with_masks:
            for name, files in entry.masks.items():
                counts[name or class_name] += len(files)
                for file in (file for file in files if file.lower().endswith(JPEG_SUFFIXES)):
                    refuse_jpeg(entry.folder / name / file)
        names = (sorted(counts) or [class_name]) if classes is None else list(classes)
        unknown = sorted(set(counts) - set(names))
        if unknown:
            raise SegkitError(
                f"{self.root}: has {counts[unknown[0]]} masks of the class '{unknown[0]}', which is not among the classes "
                f"{', '.join(names)}{did_you_mean(unknown[0], names)}",
                key="classes",
                value=unknown[0],
            )
        self._label_of = {name: label for label, name in enumerate(names)}
        if class_name in self._label_of:
            self._label_of[UNNAMED] = self._label_of[class_name]
        self._objects = sum(counts.values())
        ids = default_category_ids(names) if category_ids is None else category_ids
        super().__init__(len(with_masks), names, ids, f"one mask file an object in {self.root}")

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        if not path.is_dir():
            return None
        spec = {"format": "mask_folder", "root": str(path.absolute())}
        return recognize_pairs(path, spec, _count_images, "a folder of mask files")

    def image_file(self, index: int) -> Path:
        return self._entries[index].image

    def name(self, index: int) -> str:
        return relative_name(self._entries[index].image, self.root)

    def read_targets(self, index: int, size: tuple[int, int]) -> Targets:
        entry = self._entries[index]
        parts = []
        for name, files in entry.masks.items():
            for file in files:
                path = entry.folder / name / file
                parts.append((read_mask(path, size), [self._label_of[name]]))
        return targets_of(parts, size)

    def count_labels(self, index: int) -> np.ndarray:
        counts = np.zeros(len(self.classes), np.int32)
        for name, files in self._entries[index].masks.items():
            counts[self._label_of[name]] += len(files)
        return counts

    def object_counts(self) -> np.ndarray:
        return np.array([sum(map(len, entry.masks.values())) for entry in self._entries], np.int64)

    def notes(self) -> list[str]:
        notes = [f"{self._objects:,} mask files"]
        if self._without:
            notes.append(
                f"{len(self._without)} images have no folder of masks and are skipped: {first_few(self._without, 3)}"
            )
        return notes


def read_mask(path: Path, size: tuple[int, int]) -> InstanceMasks:
    """The mask of one file: its pixels of any value but 0, in any colour channel.

    Args:
        path: an image file; an alpha channel is ignored.
        size: (H, W) of the image.
    Raises:
        SegkitError: the file is unreadable, a JPEG, or of another size.
    """
    pixels = read_samples(path)
    if pixels.ndim == 3:
        colors = pixels[:, :, :-1] if pixels.shape[2] in (2, 4) else pixels
        pixels = np.asarray(colors.any(2))
    if pixels.shape != tuple(size):
        raise SegkitError(
            f"{path}: the mask is {pixels.shape[1]} x {pixels.shape[0]} pixels, but its image is {size[1]} x {size[0]} pixels"
        )
    return InstanceMasks.from_dense(torch.from_numpy(pixels != 0)[None])


def scan_mask_folders(root: Path, list_masks: bool = True) -> list[MaskFiles]:
    """The images of a folder with their mask files, sorted by name.

    Images without a folder of masks are included.

    Args:
        root: the folder.
        list_masks: whether the folders of masks are listed.
    Raises:
        SegkitError: a folder ``ID/images`` holds several images.
    """
    folders = folder_names(root)
    images, masks = _of_kind(folders, IMAGE_FOLDERS), _of_kind(folders, MASK_FOLDERS)
    if images and masks:
        files = ImageFiles.in_folder(root / images).images
        return [_entry(image, root / masks / image.stem, list_masks) for image in files]
    entries = []
    for name in folders:
        inner = folder_names(root / name)
        image_folder = _of_kind(inner, IMAGE_FOLDERS)
        if image_folder is None:
            continue
        files = ImageFiles.in_folder(root / name / image_folder).images
        mask_folder = _of_kind(inner, MASK_FOLDERS) or MASK_FOLDERS[0]
        if len(files) > 1 and not any((root / name / mask_folder / file.stem).is_dir() for file in files):
            if not list_masks:
                continue
            raise SegkitError(
                f"{root / name / image_folder}: holds {len(files)} images ({first_few([f.name for f in files], 2)}); "
                "expected one, with its masks beside the folder"
            )
        if len(files) == 1:
            entries.append(_entry(files[0], root / name / mask_folder, list_masks))
    return entries


def _entry(image: Path, folder: Path, list_masks: bool) -> MaskFiles:
    masks: dict[str, list[str]] = {}
    if list_masks and folder.is_dir():
        for name in (UNNAMED, *folder_names(folder)):
            files = [path.name for path in ImageFiles.in_folder(folder / name).images]
            if files:
                masks[name] = files
    return MaskFiles(image, folder, masks)


def _count_images(root: Path) -> int:
    """Number of images that have a folder of masks; 0 if those of the first images hold no mask files.

    A folder of an image and its label map, as that of a split with a single image, is none.
    """
    found = [entry for entry in scan_mask_folders(root, list_masks=False) if entry.folder.is_dir()]
    if not any(_entry(entry.image, entry.folder, True).masks for entry in found[:5]):
        return 0
    folders = {entry.image.parent.parent for entry in found[:5]} - {root}
    return 0 if any(find_flat_layout(folder) for folder in folders) else len(found)


def _of_kind(folders: Sequence[str], kinds: Sequence[str]) -> str | None:
    return next((name for name in folders if name.lower() in kinds), None)
