"""The label map format: a folder for each image, with one label map for each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segkit.data.formats.class_names import category_of_name, check_classes
from segkit.data.formats.id_map import ImageEntry, load_id_map
from segkit.data.formats.label_map.folders import recognize_label_maps, scan_folder
from segkit.data.formats.label_map.windows import MapObjects, find_objects, read_objects
from segkit.data.formats.label_map_file import count_objects, read_label_map
from segkit.data.formats.objects import TrainingObjects
from segkit.data.formats.parsing.file_errors import parse_each
from segkit.data.formats.pixel_dataset import PixelDataset, targets_of
from segkit.data.formats.recognition import Recognition
from segkit.data.packed_list import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.lazy_targets import Window
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError, first_few
from segkit.utils.images import ImageFile
from segkit.utils.images.listing import is_system_file
from segkit.utils.paths import local_path
from segkit.utils.paths.missing_files import suggest_files


@DATASET_FORMAT_REGISTRY.register(name="label_map")
class LabelMap(PixelDataset):
    """Folders with an image and one label map for each class.

    Each non-zero value of a label map is one object.

    The files are ``ROOT/<any name>/image.tif`` (or another image format) and ``ROOT/<any name>/classK.tif``, K from 1, of
    any integer type, or floats without fractions. A class that does not occur in an image has no file; a folder without
    label maps is an image without objects. Objects of one label map cannot overlap, objects of different classes can.

    Args:
        root: the folder that holds the image folders.
        classes: names in the order of the categories K; by default ``classK`` for each K found. If there are more names
            than categories in the files, category K has the K-th name.
        category_ids: K of each class, if it does not follow from the names (gaps, or classes without files).
        id_map: JSON list of ``{file_name, id}`` with the images' ids; the folder ``abc`` belongs to the file name
            ``abc`` or ``abc.<suffix>``. By default ids count from 1 over the sorted folder names.
    """

    exclusive = True
    expected = "a folder an image, with image.tif (or .png, ...) and class1.tif, class2.tif, ..."

    def __init__(
        self,
        *,
        root: str,
        classes: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
        id_map: str | None = None,
    ) -> None:
        self.root = local_path(root, "data set folder", kind="folder")
        children = sorted(p for p in self.root.iterdir() if not is_system_file(p.name))
        self.folders = PackedList(parse_each((path for path in children if path.is_dir()), scan_folder))
        self.stray_files = [path.name for path in children if not path.is_dir()]
        if len(self.folders) == 0:
            raise SegkitError(f"{self.root}: holds no images; expected {self.expected}", value=root)
        files = [folder.class_files for folder in self.folders]
        self._images_with = Counter(k for class_files in files for k in class_files)
        self._without = sum(not class_files for class_files in files)
        names, ids = name_categories(sorted(self._images_with), classes, category_ids, str(self.root))
        self._label_of = {k: label for label, k in enumerate(ids)}
        self._objects: dict[Path, MapObjects] = {}  # of the label maps of large images, each scanned once a process
        image_ids = None if id_map is None else self._mapped_ids(id_map)
        super().__init__(len(self.folders), names, ids, f"label maps in {self.root}", image_ids)

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        return recognize_label_maps(path)

    def image_file(self, index: int) -> Path:
        folder = self.folders[index]
        return folder.folder / folder.image

    def name(self, index: int) -> str:
        folder = self.folders[index]
        return f"{folder.folder.name}/{folder.image}"

    def read_targets(self, index: int, size: tuple[int, int]) -> Targets:
        folder = self.folders[index]
        parts: list[tuple[InstanceMasks, list[int]]] = []
        for k, name in folder.class_files.items():
            found = InstanceMasks.from_label_map(read_label_map(folder.folder / name, size))
            parts.append((found, [self._label_of[k]] * len(found)))
        return targets_of(parts, size)

    def window_targets(self, index: int, window: Window | None) -> tuple[Targets, int]:
        if window is None:
            return super().window_targets(index, None)
        folder, size = self.folders[index], self.size(index)
        parts: list[tuple[InstanceMasks, list[int]]] = []
        total = 0
        for k, name in folder.class_files.items():
            path = folder.folder / name
            objects = self._objects.get(path)
            if objects is None:
                objects = self._objects[path] = find_objects(path, size)
            found = read_objects(path, size, objects, window)
            parts.append((found, [self._label_of[k]] * len(found)))
            total += len(objects.ids)
        targets = targets_of(parts, size)
        return targets, total - len(targets)

    def count_labels(self, index: int) -> np.ndarray:
        folder = self.folders[index]
        counts = np.zeros(len(self.classes), np.int32)
        for k, name in folder.class_files.items():
            path = folder.folder / name
            file = ImageFile(path)
            count = len(find_objects(path, file.size).ids) if file.is_large else count_objects(path)
            counts[self._label_of[k]] = count
        return counts

    def training_objects(self, index: int) -> TrainingObjects:
        return TrainingObjects(sum(self.label_counts(index).values()))

    def image_files(self) -> list[str]:
        root = self.root.resolve()
        return [str(root / folder.folder.name / folder.image) for folder in self.folders]

    def notes(self) -> list[str]:
        notes = []
        for label, (name, k) in enumerate(zip(self.classes, self.category_ids, strict=True)):
            images = self._images_with[k]
            called = f"{name} (class{k})" if name != f"class{k}" else name
            notes.append(f"label {label} is {called}, in {images} images" if images else f"{called} does not occur")
        if self._without:
            notes.append(f"{self._without} images have no class file and count as images without objects")
        if self.stray_files:
            stray = ", ".join(self.stray_files[:3])
            notes.append(f"{len(self.stray_files)} files outside of the image folders are ignored, as {stray}")
        return notes

    def _mapped_ids(self, id_map: str) -> list[int]:
        """The id of each image folder in an id map.

        Raises a SegkitError if a folder has none, or more than one.
        """
        entries = load_id_map(id_map)
        by_stem: dict[str, ImageEntry] = {}
        repeated: dict[str, tuple[str, str]] = {}
        for entry in entries:
            stem = Path(entry.file_name).stem
            if by_stem.setdefault(stem, entry) is not entry:
                repeated[stem] = (by_stem[stem].file_name, entry.file_name)
        ids = {stem: entry.image_id for stem, entry in by_stem.items()}
        ids |= {entry.file_name: entry.image_id for entry in entries}
        names = [folder.folder.name for folder in self.folders]
        exact = {entry.file_name for entry in entries}
        ambiguous = [name for name in names if name in repeated and name not in exact]
        if ambiguous:
            both = " and ".join(repr(name) for name in repeated[ambiguous[0]])
            raise SegkitError(
                f"{id_map}: both {both} may be the folder '{ambiguous[0]}'; list it in one entry", value=id_map
            )
        missing = [name for name in names if name not in ids]
        if missing:
            raise SegkitError(
                f"{id_map}: has no id for {len(missing)} of the {len(names)} images of {self.root}: {first_few(missing)}"
                f"{suggest_files(missing, ids)}",
                value=id_map,
            )
        return [ids[name] for name in names]


def name_categories(
    found: Sequence[int], classes: Sequence[str] | None, category_ids: Sequence[int] | None, where: str
) -> tuple[list[str], list[int]]:
    """Name and category K of each label, from the files and the configuration.

    Args:
        found: categories that have files, ascending.
        classes: names of the classes; None: ``classK``.
        category_ids: K of each class; None: derived from the names, else from ``found``.
        where: the data set, for messages.
    Raises:
        SegkitError: a category has files but no name.
    """
    if classes is None:
        ids = list(category_ids) if category_ids is not None else list(found)
        names = [f"class{k}" for k in ids]
    else:
        names = list(classes)
        named_ids = [category_of_name(name) for name in names]
        if category_ids is not None:
            ids = list(category_ids)
        elif names and None not in named_ids:
            ids = [k for k in named_ids if k is not None]
        elif len(names) == len(found):
            ids = list(found)
        else:
            ids = list(range(1, len(names) + 1))
    check_classes(names, ids)
    unknown = sorted(set(found) - set(ids))
    if unknown:
        files = ", ".join(f"class{k}.tif" for k in unknown)
        raise SegkitError(
            f"{where}: there are files {files}, but the {len(names)} classes ({', '.join(names)}) are categories {ids}",
            key="classes",
            value=names,
        )
    return names, ids
