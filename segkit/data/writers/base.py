"""The interface of a writer, which writes images and objects in the format of another tool."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import ClassVar

import numpy as np
import tifffile

from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError, image_errors
from segkit.utils.images import ImageFile, ImageReader, Planes, write_image
from segkit.utils.images.planes import ONE_PLANE
from segkit.utils.images.stored_writer import write_stored
from segkit.utils.whole_file import whole_file

TURNED = "images with an orientation tag, which is applied: tools that ignore it would show them turned"


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

    def save_image(self, image: WritableImage, path: Path) -> Path:
        """Saves the image by :meth:`WritableImage.save_to`; counts images that a tag turns."""
        if image.is_turned:
            self.losses[TURNED] += 1
        return image.save_to(path, self.suffixes)

    def close(self) -> None:  # noqa: B027 - most formats write nothing at the end
        """Writes what needs all images, such as a list of them."""

    def __enter__(self) -> DatasetWriter:
        return self

    def abort(self) -> None:  # noqa: B027 - most formats have nothing open
        """Removes temporary files after an error."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


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
        load: loads ``sample`` when it is first needed.
        link: make symbolic links in place of copies.
        planes: which image of a file with several.
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
        *,
        load: Callable[[], Sample] | None = None,
        link: bool = False,
        planes: Planes = ONE_PLANE,
    ) -> None:
        assert not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts, name
        assert file is not None or sample is not None or load is not None
        self.name, self.image_id, self.size, self.targets = name, image_id, size, targets
        self.split, self.file, self.link, self.planes = split, file, link, planes
        self._sample, self._load = sample, load

    @property
    def sample(self) -> Sample | None:
        """The loaded image; None if it is neither given nor can be loaded."""
        if self._sample is None and self._load is not None:
            self._sample = self._load()
        return self._sample

    def copy_to(self, path: Path) -> None:
        """Copies the image's file to ``path``, folders included; makes a link if ``link`` is set."""
        assert self.file is not None
        try:
            with whole_file(path) as temporary:
                if self.link:
                    temporary.symlink_to(self.file.absolute())
                else:
                    shutil.copyfile(self.file, temporary)
        except OSError as error:
            how = "linked" if self.link else "copied"
            raise SegkitError(
                f"{self.file} cannot be {how} to {path}: {error.strerror}", value=str(self.file)
            ) from error

    @cached_property
    def is_turned(self) -> bool:
        """Whether an orientation tag (EXIF) turns or mirrors the file's pixels.

        False if the file is unreadable. Objects and sizes are those of the upright image.
        """
        try:
            return self.file is not None and ImageFile(self.file, self.planes).orientation != 1
        except SegkitError:
            return False

    @cached_property
    def _is_plane(self) -> bool:
        """Whether the image is one of several of its file."""
        if self.file is None or self.planes == ONE_PLANE:
            return False
        try:
            ImageFile(self.file).orientation  # noqa: B018 - opens the file
        except SegkitError:
            return True
        return False

    def save_to(self, path: Path, suffixes: Sequence[str] = ()) -> Path:
        """Copies the image's file where the format allows it, else writes its upright pixels.

        Of a file that holds several images the selected one is written, with its stored samples.

        Args:
            path: the file to write; its suffix is replaced by that of what is written.
            suffixes: image formats that may be copied, in lower case with the dot; empty: all.
        Returns:
            The path written. Pixels are written as PNG, or TIFF if PNG cannot hold them.
        """
        if self._is_plane and self.file is not None:
            with image_errors():
                return write_stored(path.with_name(path.stem), ImageFile(self.file, self.planes).read())
        may_copy = self.file is not None and not self.file.is_dir() and not self.is_turned  # a Zarr store is a folder
        if may_copy and self.file is not None and (not suffixes or self.file.suffix.lower() in suffixes):
            target = path.with_name(path.stem + self.file.suffix)
            self.copy_to(target)
            return target
        sample = self.sample
        if sample is None:
            assert self.file is not None
            return write_pixels(path, ImageReader().read(self.file).numpy())
        return write_pixels(path, sample.image.numpy())


def write_pixels(path: Path, image: np.ndarray) -> Path:
    """Writes [C, H, W] as PNG, or as TIFF if it is not uint8 of one or three channels.

    The suffix of ``path`` is replaced. Returns the path written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if image.dtype == np.uint8 and len(image) in (1, 3):
        target = path.with_name(path.stem + ".png")
        with atomic_write(target) as temporary:
            write_image(temporary, image[0] if len(image) == 1 else image.transpose(1, 2, 0))
        return target
    target = path.with_name(path.stem + ".tif")
    with atomic_write(target) as temporary:
        if len(image) == 3:
            tifffile.imwrite(temporary, image.transpose(1, 2, 0), photometric="rgb")
        else:
            tifffile.imwrite(
                temporary, image, photometric="minisblack", planarconfig="separate", metadata={"axes": "CYX"}
            )
    return target
