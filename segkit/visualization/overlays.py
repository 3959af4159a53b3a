"""Overlay files for many images: one PNG each, under names that cannot collide."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segkit.utils.errors import SegkitError
from segkit.utils.images import write_image
from segkit.visualization.draw import draw_detections

if TYPE_CHECKING:
    import numpy as np

    from segkit.structures.detections import Detections


def unique_stems(names: Sequence[str]) -> dict[str, str]:
    """A file stem for each name: its own where no other has it, else with the folders and suffix that tell it apart.

    Compared without case, as some file systems do.

    >>> unique_stems(["a/x.png", "b/x.png", "y.tif"])
    {'a/x.png': 'a__x', 'b/x.png': 'b__x', 'y.tif': 'y'}
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(Path(name).stem.casefold(), []).append(name)
    stems = {group[0]: Path(group[0]).stem for group in groups.values() if len(group) == 1}
    taken = {stem.casefold() for stem in stems.values()}
    for group in groups.values():
        if len(group) == 1:
            continue
        files = {name: Path(os.path.abspath(name)) for name in group}
        top = os.path.commonpath([file.parent for file in files.values()])
        plain = {name: "__".join(file.relative_to(top).with_suffix("").parts) for name, file in files.items()}
        often = Counter(stem.casefold() for stem in plain.values())
        for name, stem in plain.items():
            if often[stem.casefold()] > 1:
                stem += Path(name).suffix.replace(".", "_")
            number, chosen = 1, stem
            while chosen.casefold() in taken:
                number += 1
                chosen = f"{stem}-{number}"
            taken.add(chosen.casefold())
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
        files = {os.path.realpath(path) for path in inputs.values()}
        for path in self.paths.values():
            if os.path.realpath(path) in files:
                raise SegkitError(
                    f"the overlay {path} would replace an input; choose another output folder", value=str(path)
                )

    def add(self, name: str, image: np.ndarray, detections: Detections) -> None:
        """Draw one image, uint8 [H, W, 3]."""
        picture = draw_detections(image, detections, self.classes, color_by=self.color_by)
        # Whole or not there, but not forced to the disk as atomic_write does: that takes longer than drawing.
        temporary = self.folder / f".{self.paths[name].name}.tmp.png"
        write_image(temporary, picture)
        os.replace(temporary, self.paths[name])

    def close(self) -> list[Path]:
        """The folder."""
        return [self.folder]
