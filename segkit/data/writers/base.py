"""The interface of a writer, which writes images and objects in the format of another tool."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import ClassVar

from segkit.structures.sample import Sample
from segkit.structures.targets import Targets


class DatasetWriter(ABC):
    """Writes a data set image by image; memory does not grow with the pixels written.

    Use it as a context manager: the files that list all images are written by ``close``.

    Args:
        output: the folder to write to; it exists and is empty.
        classes: name of each label.
        category_ids: the id of each label.
    Attributes:
        losses: what the format could not hold, with the number of objects, as ``{"objects whose holes are filled": 3}``.
        suffixes: image formats that may be copied as they are; others are written as PNG or TIFF. Empty: all.
    """

    suffixes: ClassVar[Sequence[str]] = ()

    def __init__(self, output: Path, classes: Sequence[str], category_ids: Sequence[int]) -> None:
        self.output, self.classes, self.category_ids = output, list(classes), list(category_ids)
        self.losses: Counter[str] = Counter()

    @abstractmethod
    def write(self, image: WritableImage) -> None:
        """Writes one image and its objects."""

    def close(self) -> None:  # noqa: B027 - most formats write nothing at the end
        """Writes what needs all images, such as a list of them."""

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()


class WritableImage:
    """An image to write: its objects, and its file, which is copied where the format allows it.

    Args:
        name: relative path of the image in the written data set, with forward slashes and without ``..``.
        image_id: id in the data set.
        size: (H, W).
        targets: in the image's pixels.
        split: the part that it belongs to, as ``train``.
        file: the image's file; None: ``sample`` has the pixels.
        sample: the loaded image, where there is no file or it is encoded again.
    """

    def __init__(
        self,
        name: str,
        image_id: int,
        size: tuple[int, int],
        targets: Targets,
        split: str,
        file: Path | None = None,
        sample: Sample | None = None,
    ) -> None:
        assert not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts, name
        assert file is not None or sample is not None
        self.name, self.image_id, self.size, self.targets = name, image_id, size, targets
        self.split, self.file, self.sample = split, file, sample

    def copy_to(self, path: Path) -> None:
        """Copies the image's file to ``path``, folders included."""
        assert self.file is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.file, path)
