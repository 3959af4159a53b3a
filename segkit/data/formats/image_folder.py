"""A folder of images without annotations, to predict on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segkit.data.formats.base import Dataset
from segkit.data.formats.class_names import check_classes, default_category_ids
from segkit.data.formats.id_map import ImageEntry, check_size, load_id_map
from segkit.data.formats.lazy_samples import open_lazily
from segkit.data.formats.objects import TrainingObjects
from segkit.data.formats.recognition import Recognition
from segkit.data.formats.recognition.folder_contents import files_in, sub_folders
from segkit.data.formats.split_names import split_kind
from segkit.data.packed_list import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.lazy_targets import Window
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError
from segkit.utils.images import is_image_name
from segkit.utils.images.listing import ImageFiles
from segkit.utils.paths import local_path
from segkit.utils.paths.missing_files import check_files, leads_out
from segkit.utils.paths.spellings import name_key


@DATASET_FORMAT_REGISTRY.register(name="image_folder")
class ImageFolder(Dataset):
    """The images of one folder, without objects.

    Images in subfolders are used only if an id map lists them.

    Hidden files, empty files, system files and broken links are skipped, unless the id map lists them.

    Args:
        root: the folder.
        id_map: JSON list of ``{file_name, id, height, width}``, which selects the images and sets their ids and order.
            Without it, all images are used, sorted by name, with ids from 1.
        classes: names of the labels that predictions will have.
        category_ids: the id of each class in results; by default K for a class called ``classK``, else 1, 2, ...
    """

    expected = "images directly in the folder, or in folders train, val, test"

    def __init__(
        self,
        *,
        root: str,
        id_map: str | None = None,
        classes: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> None:
        self.root = local_path(root, "folder of images", kind="folder")
        self.classes = list(classes or [])
        check_classes(self.classes, category_ids)
        self.category_ids = list(category_ids) if category_ids is not None else default_category_ids(self.classes)
        found = ImageFiles.in_folder(self.root)
        self._skipped_files = found.skipped_note()
        images = [path.name for path in found.images]
        if id_map is None:
            entries = [ImageEntry(name, image_id) for image_id, name in enumerate(images, start=1)]
        else:
            # An id map may list files that look like system files.
            files = [*found.images, *(path for paths in found.skipped.values() for path in paths)]
            entries = find_listed(load_id_map(id_map), self.root, [path.name for path in files], id_map)
        if not entries:
            skipped = f" (skipped: {self._skipped_files})" if self._skipped_files else ""
            raise SegkitError(f"{self.root}: holds no images{skipped}", value=root)
        self.entries = PackedList(entries)
        self.image_ids = [entry.image_id for entry in entries]
        self.unlisted = len(set(images) - {entry.file_name for entry in entries})
        self.id_map = id_map

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        if holds_images(path):
            return Recognition({"format": "image_folder", "root": str(path.absolute())}, "only images", certainty=0.05)
        folders = [child for child in sub_folders(path, 20) if split_kind(child.name) and holds_images(child)]
        specs = {child.name: {"format": "image_folder", "root": str(child.absolute())} for child in folders}
        return Recognition.of_splits(specs, f"{', '.join(specs)}: only images", certainty=0.05)

    def load(self, index: int) -> Sample:
        entry = self.entries[index]
        image = self.reader.read(self.root / entry.file_name)
        size = (image.shape[1], image.shape[2])
        check_size(self.root / entry.file_name, size, entry.size, str(self.id_map))
        return Sample(image, Targets.empty(size), entry.image_id, entry.file_name, size, None)

    def open(self, index: int) -> Sample:
        entry = self.entries[index]
        return open_lazily(self, index, self.root / entry.file_name, entry.file_name, entry.size, str(self.id_map))

    def targets(self, index: int, window: Window | None = None) -> Targets:
        return Targets.empty(self.size(index))

    def window_targets(self, index: int, window: Window | None) -> tuple[Targets, int]:
        return self.targets(index), 0

    def label_counts(self, index: int) -> dict[int, int]:
        return {}

    def training_objects(self, index: int) -> TrainingObjects:
        return TrainingObjects(0)

    def image_files(self) -> list[str]:
        root = self.root.resolve()
        return [str(root / entry.file_name) for entry in self.entries]

    def size(self, index: int) -> tuple[int, int]:
        entry = self.entries[index]
        return entry.size or self.reader.size(self.root / entry.file_name)

    def describe(self) -> str:
        return f"images in {self.root}"

    def notes(self) -> list[str]:
        notes = [f"{self.unlisted} images of the folder are not in {self.id_map}"] if self.unlisted else []
        return [*notes, f"skipped in the folder: {self._skipped_files}"] if self._skipped_files else notes


def holds_images(folder: Path) -> bool:
    """Whether one of the first files in a folder is an image."""
    return folder.is_dir() and any(is_image_name(file.name) for file in files_in(folder, limit=200))


def find_listed(entries: Sequence[ImageEntry], folder: Path, names: Sequence[str], id_map: str) -> list[ImageEntry]:
    """Finds the files of an id map's entries; returns the entries with these files' names.

    Args:
        entries: of the id map; a name may include subfolders.
        folder: of the images.
        names: of the files directly in the folder.
        id_map: for messages.
    Raises:
        SegkitError: files are missing, or a name leads out of the folder.
    """
    by_key = {name_key(name): name for name in names}
    found = [replace(entry, file_name=by_key.get(name_key(entry.file_name), entry.file_name)) for entry in entries]
    for entry in found:
        if leads_out(entry.file_name):
            raise SegkitError(f"{id_map}: the file name '{entry.file_name}' leads out of the folder of images")
    check_files(folder, [entry.file_name for entry in found], f"images of {id_map}")
    return found
