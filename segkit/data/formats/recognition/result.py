"""What a data format recognised in a folder or file, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segkit.data.formats.split_names import find_split

INCOMPLETE = "INCOMPLETE.txt"  # in a folder that segkit has begun to write; removed when all of it is written


@dataclass(frozen=True)
class Recognition:
    """A data set that a format recognised by its content.

    Attributes:
        spec: the data set as in a configuration, ``{"format": "yolo", "data": "/abs/data.yaml", "split": "train"}``: the
            training split if there are several, else all images.
        reason: the evidence, as ``data.yaml with names, and 120 label files of polygons``.
        splits: the spec of each split that the data name, by its own name (``train``, ``val``, ``test``, ...); empty if
            there are none.
        certainty: 0 to 1. ``auto`` takes the highest; two equal ones are an error that names both.
    """

    spec: Mapping[str, Any]
    reason: str
    splits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    certainty: float = 1.0

    @classmethod
    def of_splits(
        cls, splits: Mapping[str, Mapping[str, Any]], reason: str, certainty: float = 1.0
    ) -> Recognition | None:
        """A data set of some splits, by default the training split; None if there are none."""
        if not splits:
            return None
        first = find_split(splits, "train") or next(iter(splits))
        return cls(splits[first], reason, splits, certainty)
