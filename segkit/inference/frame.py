"""One frame of a time series."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segkit.utils.images import Planes


@dataclass(frozen=True)
class Frame:
    """One frame of a series.

    Attributes:
        file: that holds it.
        planes: which of the file's planes it is.
        series: name of the series.
        index: its time, from 0. Frames that are missing between two files leave a gap.
    """

    file: Path
    planes: Planes
    series: str
    index: int


def file_of(source: Path | Frame) -> Path:
    """The file of an input."""
    return source.file if isinstance(source, Frame) else source
