"""The interface of a writer of results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from segkit.inference.predicted_image import PredictedImage
from segkit.results.part_files import PartFiles


class ResultWriter(ABC):
    """Writes the detections of images as they come; memory does not grow with their number.

    A file of one image is written whole or not at all (:func:`segkit.utils.atomic.atomic_write`). What belongs in a file of
    all images is appended to ``parts`` line by line, and :meth:`close` makes the file of it. So an interrupted run
    continues, and several processes write one result: the one that closes reads the parts of all.

    Register one with ``@RESULT_WRITER_REGISTRY.register(name="...")``; its options are keyword-only.

    Args:
        output: the folder of the prediction; it exists.
        classes: name of each label.
        category_ids: the id of each label in files.
        parts: where lines are kept; names begin with the writer's.
    """

    def __init__(self, output: Path, classes: Sequence[str], category_ids: Sequence[int], parts: PartFiles) -> None:
        self.output, self.parts = Path(output), parts
        self.classes, self.category_ids = list(classes), list(category_ids)

    @abstractmethod
    def add(self, image: PredictedImage) -> None:
        """Writes what belongs to one image.

        Raises:
            SegkitError: the format cannot hold it.
            OSError: the disk is full, or the folder cannot be written.
        """

    def files_of(self, stem: str) -> list[Path]:
        """The files that :meth:`add` writes for an image of that stem.

        None if all goes to ``parts``.

        The run refuses to start if one of them is an input, or belongs to two images.
        """
        return []

    @abstractmethod
    def close(self) -> list[Path]:
        """Writes the files of all images.

        Returns the paths of what was written: files, or folders of files.

        Called once, after the last image and after an error.
        """
