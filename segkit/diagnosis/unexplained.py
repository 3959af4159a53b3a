"""Errors that no kind explains yet: each error is counted in one kind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segkit.diagnosis.ranking import Ranking
from segkit.diagnosis.settings import ModelSettings


@dataclass
class Unexplained:
    """The errors that are left, while kind after kind takes those that it explains.

    Attributes:
        table: objects and detections.
        settings: of the model.
        score_threshold: the one in use.
        objects: bool [M], objects without a match at IoU 0.5.
        detections: bool [N], false positives at IoU 0.5.
    """

    table: Ranking
    settings: ModelSettings
    score_threshold: float
    objects: np.ndarray
    detections: np.ndarray

    @classmethod
    def of(cls, table: Ranking, settings: ModelSettings, score_threshold: float) -> Unexplained:
        """All errors."""
        return cls(table, settings, score_threshold, ~table.found, table.false[0].copy())

    @property
    def lost(self) -> int:
        """Number of objects without a match, those that are explained included."""
        return int((~self.table.found).sum())

    @cached_property
    def seen_sides(self) -> np.ndarray:
        """Side of each object's box in the image that the model sees, in pixels: float64 [M]."""
        scales = np.array([self.settings.scale(image.size) for image in self.table.data.images])
        boxes = self.table.object_boxes
        return np.sqrt(boxes[:, 2] * boxes[:, 3]) * (scales[self.table.object_images] if len(scales) else 1.0)

    def take(self, objects: np.ndarray | None = None, detections: np.ndarray | None = None) -> None:
        """Marks errors (indices) as explained."""
        if objects is not None:
            self.objects[objects] = False
        if detections is not None:
            self.detections[detections] = False


def percent(part: float, whole: float) -> str:
    """A share as text, as ``31 %``."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.1f} %" if 0 < share < 1 else f"{share:.0f} %"


def count_of(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun, as ``1 object`` or ``1,204 objects``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
