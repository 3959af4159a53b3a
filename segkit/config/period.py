"""The interval between two actions of a run, in iterations or epochs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Period:
    """An interval: ``500`` (iterations) or ``1 epoch``; 0 means never.

    Attributes:
        count: number of units, a whole number for iterations.
        unit: iterations or epochs.
    """

    count: float
    unit: Literal["iteration", "epoch"] = "iteration"

    def __post_init__(self) -> None:
        if not 0 <= self.count < float("inf"):
            raise ValueError(f"a period cannot be {self.count}; 0 means never")
        if self.unit == "iteration" and self.count != int(self.count):
            raise ValueError(f"a period of {self.count} iterations is not a whole number")

    @classmethod
    def from_plain(cls, value: object) -> Period:
        """Reads ``500``, ``"500 iterations"``, ``"1 epoch"`` or ``"0.5 epochs"``; else ValueError."""
        if isinstance(value, Period):
            return value
        text = str(value).strip() if isinstance(value, (int, float, str)) and not isinstance(value, bool) else ""
        match = re.fullmatch(r"([-+]?[\d_]+(?:\.\d*)?)\s*(iterations?|epochs?)?", text)
        if match is None:
            raise ValueError("expected iterations, as 500, or epochs, as '1 epoch' (0 means never)")
        return cls(float(match[1]), "epoch" if (match[2] or "").startswith("epoch") else "iteration")

    def to_plain(self) -> int | str:
        """Returns a number or text that :meth:`from_plain` reads back equal."""
        count = int(self.count) if self.count == int(self.count) else self.count
        return f"{count} epoch{'' if count == 1 else 's'}" if self.unit == "epoch" else int(count)

    def iterations(self, iterations_per_epoch: int) -> int:
        """Returns the interval in iterations; 0 means never."""
        if self.unit == "iteration":
            return int(self.count)
        return max(1, round(self.count * iterations_per_epoch)) if self.count else 0

    def __str__(self) -> str:
        return str(self.to_plain())
