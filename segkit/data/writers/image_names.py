"""Names and files of the images that a writer writes."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from segkit.data.writers.base import WritableImage
from segkit.utils.paths.file_names import name_fold, short_stem

ALL = "all"  # the split of data without splits, which gets no folder of its own


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
            stem = short_stem(candidates.pop(0) if candidates else f"{path.stem}-{(number := number + 1)}")
            key = (image.split, name_fold(stem))
            if key not in self._taken:
                self._taken.add(key)
                return stem


def split_root(output: Path, split: str) -> Path:
    """The folder of a split; that of all images if the data have no splits."""
    return output if split == ALL else output / split


def store_image(image: WritableImage, folder: Path, stem: str) -> Path:
    """Copies the image's file, or writes its pixels, with that stem; returns the path."""
    return image.save_to(folder / f"{stem}.png")


def folder_name(name: str) -> str:
    """A class name as the name of a folder: characters that file systems refuse become ``_``."""
    return "".join("_" if c in '<>:"/\\|?*\0' else c for c in name).strip(". ") or "_"
