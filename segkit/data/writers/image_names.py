"""Names and files of the images that a writer writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from segkit.data.writers.base import WritableImage
from segkit.utils.images.listing import is_system_file
from segkit.utils.paths.file_names import name_fold, short_stem, unique_stems

IMAGE_FOLDERS = ("images", "labels", "JPEGImages")
CLASS_LIST = "classes"  # stem of a file that readers of YOLO take for the list of classes
ALL = "all"  # the split of data without splits, which gets no folder of its own
_UNSAFE = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)  # names of devices on Windows


class ImageNames:
    """Stems of the written images, different from each other in each split.

    They are compared without case and Unicode form.
    """

    def __init__(self) -> None:
        self._taken: set[tuple[str, str]] = set()

    def stem(self, image: WritableImage) -> str:
        """The image's name without folders and suffix.

        If it is taken, the folders are added, and then a number.
        """
        path = PurePosixPath(image.name)
        candidates = [path.stem, "__".join(path.with_suffix("").parts)]
        number = 1
        while True:
            stem = usable_stem(short_stem(candidates.pop(0) if candidates else f"{path.stem}-{(number := number + 1)}"))
            key = (image.split, name_fold(stem))
            if key not in self._taken:
                self._taken.add(key)
                return stem


class ImagePaths:
    """Chooses the paths of written images, which differ without their suffixes too.

    YOLO, LabelMe and VOC find the annotation of an image by its name without suffix.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def stem(self, name: str, split: str, *, flat: bool = False) -> str:
        """A free path without suffix for an image, relative to the folder of its split.

        Folders called as the split or as folders of images are dropped: YOLO looks for labels by such names.

        Args:
            name: of the image, relative, with forward slashes.
            split: images of different splits may share a name, unless ``flat``.
            flat: whether all images lie in one folder; then the name has no folders and no spaces.
        """
        *folders, last = PurePosixPath(name).with_suffix("").parts
        last = f"_{last}_" if last == CLASS_LIST else usable_stem(last)
        stem = "/".join([folder for folder in folders if folder not in (split, *IMAGE_FOLDERS)] + [last])
        if flat:
            stem, split = "_".join(stem.replace("/", " ").split()), ""
        chosen, number = stem, 1
        while name_fold(f"{split}/{chosen}") in self._taken:
            number += 1
            chosen = f"{stem}-{number}"
        self._taken.add(name_fold(f"{split}/{chosen}"))
        return chosen


def split_root(output: Path, split: str) -> Path:
    """The folder of a split; that of all images if the data have no splits."""
    return output if split == ALL else output / split


def usable_stem(stem: str) -> str:
    """A name without suffix that readers do not skip as a system file, and that Windows accepts.

    Others get a ``_``.
    """
    if is_system_file(stem):
        return f"_{stem}_"
    return f"{stem}_" if _RESERVED.fullmatch(stem) else stem


def folder_name(name: str) -> str:
    """A class name as the name of a folder: characters that file systems refuse become ``_``."""
    return usable_stem("".join("_" if c in '<>:"/\\|?*\0' else c for c in name).strip(". ") or "_")


def written_names(files: Sequence[str]) -> list[str]:
    """A name for the copy of each image, without folders.

    A name that is unique is kept. Of equal names, those that differ in the suffix or in case only included, the folders
    that differ are added. If all files of several folders are called the same (``image.tif``), the folders' names are
    used.

    >>> written_names(["a/x.png", "b/x.png", "y?.tif"])
    ['a__x.png', 'b__x.png', 'y_.tif']
    """
    paths = [Path(file) for file in files]
    if len(paths) > 1 and len({path.stem for path in paths}) == 1:
        stems = unique_stems([str(_safe(path.parent)) + path.suffix for path in paths])
    else:
        stems = unique_stems([str(_safe(path)) for path in paths])
    return [stem + path.suffix for stem, path in zip(stems, paths, strict=True)]


def _safe(path: Path) -> Path:
    """A path without characters that a file system refuses."""
    path = Path(path.anchor, *(_UNSAFE.sub("_", part) for part in path.relative_to(path.anchor).parts))
    return path.parent / (usable_stem(path.stem.strip(" .") or "image") + path.suffix)
