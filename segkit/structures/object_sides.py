"""How large the objects of the training data are, as checkpoints keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ObjectSides:
    """A quantile of the longer sides of the training objects' boxes.

    It consists of plain values, which checkpoints keep.

    Attributes:
        pixels: the side that a share ``quantile`` of the objects does not exceed, in pixels of the files.
        quantile: in 0..1.
        objects: number of objects that were measured.
    """

    pixels: float
    quantile: float
    objects: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which :func:`saved_object_sides` reads."""
        return asdict(self)


def saved_object_sides(checkpoint: Mapping[str, Any]) -> ObjectSides | None:
    """The object sides that a checkpoint's content holds; None if it has none, as older ones."""
    values = checkpoint.get("object_sides")
    return None if values is None else ObjectSides(**values)
