"""Overlay files for many images: one PNG each, under names that cannot collide."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segkit.utils.errors import SegkitError
from segkit.utils.file_names import name_fold, short_stem
from segkit.utils.images import write_image
from segkit.visualization.draw import draw_detections

if TYPE_CHECKING:
    import numpy as np

    from segkit.structures.detections import Detections

logger = logging.getLogger(__name__)


def unique_stems(names: Sequence[str]) -> dict[str, str]:
    """A file stem for each name: its own where no other has it, else with the folders and suffix that tell it apart.

    Compared without case and Unicode form, as some file systems do; one too long for a file name is shortened.

    >>> unique_stems(["a/x.png", "b/x.png", "y.tif"])
    {'a/x.png': 'a__x', 'b/x.png': 'b__x', 'y.tif': 'y'}
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name_fold(short_stem(Path(name).stem)), []).append(name)
    stems = {group[0]: short_stem(Path(group[0]).stem) for group in groups.values() if len(group) == 1}
    taken = {name_fold(stem) for stem in stems.values()}
    for group in groups.values():
        if len(group) == 1:
            continue
        files = {name: Path(os.path.abspath(name)) for name in group}
        top = os.path.commonpath([file.parent for file in files.values()])
        plain = {name: "__".join(file.relative_to(top).with_suffix("").parts) for name, file in files.items()}
        often = Counter(name_fold(stem) for stem in plain.values())
        for name, stem in plain.items():
            if often[name_fold(stem)] > 1:
                stem += Path(name).suffix.replace(".", "_")
            stem = short_stem(stem)
            number, chosen = 1, stem
            while name_fold(chosen) in taken:
                number += 1
                chosen = f"{stem}-{number}"
            taken.add(name_fold(chosen))
            stems[name] = chosen
    return {name: stems[name] for name in names}


class OverlayWriter:
    """Draws each image's detections to a PNG in a folder.

    Args:
        folder: made when the first is written.
        inputs: file of each name that will come: no overlay is written over one of them.
        classes: name of each label.
        color_by: see :func:`segkit.visualization.draw.draw_detections`.
    Raises:
        SegkitError: an overlay would replace an input.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        inputs: Mapping[str, Path],
        classes: Sequence[str],
        color_by: Literal["instance", "class"] = "instance",
    ) -> None:
        self.folder = Path(folder)
        self.paths = {name: self.folder / f"{stem}.png" for name, stem in unique_stems(list(inputs)).items()}
        self.classes = list(classes)
        self.color_by: Literal["instance", "class"] = color_by
        files = {os.path.realpath(path) for path in inputs.values()} | {os.path.abspath(p) for p in inputs.values()}
        for path in self.paths.values():
            if os.path.realpath(path) in files or os.path.abspath(path) in files:
                raise SegkitError(
                    f"the overlay {path} would replace an input; choose another output folder", value=str(path)
                )
            if path.is_dir():
                raise SegkitError(f"the overlay {path} cannot be written: a folder has its name", value=str(path))
        there = {path for path in self.folder.glob("*.png") if not path.name.startswith(".")}
        if earlier := len(there - set(self.paths.values())):
            logger.warning("%s holds %d pictures of other images, maybe of an earlier prediction", self.folder, earlier)

    def add(self, name: str, image: np.ndarray, detections: Detections) -> None:
        """Draw one image, uint8 [H, W, 3]."""
        picture = draw_detections(image, detections, self.classes, color_by=self.color_by)
        # Whole or not there, but not forced to the disk as atomic_write does: that takes longer than drawing.
        temporary = self.folder / f".{os.getpid()}.tmp.png"
        write_image(temporary, picture)
        os.replace(temporary, self.paths[name])

    def close(self) -> list[Path]:
        """The folder."""
        return [self.folder]
