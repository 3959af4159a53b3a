"""Report of a benchmark part, as a table and as JSON."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from tabulate import tabulate

import segkit
from segkit.benchmark.options import Options
from segkit.engine.environment import device_name

OWN = "segkit"
PEER = "torchvision"


@dataclass(frozen=True)
class Row:
    """One measured quantity.

    Attributes:
        work: what is measured.
        unit: of the values.
        values: by side; segkit's sides begin with ``segkit``.
        compare: direction of the ratio: ``peer/own`` for times, ``own/peer`` for rates and memory; None: no ratio.
    """

    work: str
    unit: str
    values: Mapping[str, float]
    compare: Literal["peer/own", "own/peer", None] = None

    def ratio(self, side: str, peer: str) -> float | None:
        """Ratio of a segkit side and the peer; None if one of them has no value."""
        ours, theirs = self.values.get(side), self.values.get(peer)
        if not ours or not theirs or self.compare is None:
            return None
        return theirs / ours if self.compare == "peer/own" else ours / theirs


@dataclass
class Report:
    """The result of a part.

    Attributes:
        part: its name.
        situation: description of the measurement.
        rows: the quantities.
        peer: side that the ratios compare with.
        notes: more information for the reader, one sentence each.
        details: more values for the JSON, such as single runs.
    """

    part: str
    situation: str
    rows: list[Row]
    peer: str = PEER
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, part: str, situation: str, options: Options, peer: str = PEER) -> Report:
        """A report without rows; its JSON contains the options."""
        return cls(part, situation, [], peer, details={"options": asdict(options)})

    def table(self) -> str:
        """Table of the quantities: values of the sides, and ratios of segkit's to the peer's."""
        sides = list(dict.fromkeys(side for row in self.rows for side in row.values))
        own = [side for side in sides if side.startswith(OWN)]
        others = [side for side in sides if side not in own]
        first, more = own[:1], own[1:]
        compared = self.peer in others
        headers = ["work", *first, *others, *(["ratio"] if compared else [])]
        for side in more:
            headers += [side, *(["ratio"] if compared else [])]
        rows = []
        for row in self.rows:
            cells = [f"{row.work}, {row.unit}" if row.unit else row.work]
            for side in [*first, *others]:
                cells.append(shown(row.values.get(side)))
            for position, side in enumerate([*first, *more]):
                cells += [shown(row.values.get(side))] if position else []
                cells += [shown(row.ratio(side, self.peer))] if compared else []
            rows.append(cells)
        align = ["left", *["right"] * (len(headers) - 1)]
        return tabulate(rows, headers=headers, colalign=align, disable_numparse=True)

    def text(self) -> str:
        """The report as text for a terminal."""
        lines = [f"{self.part}: {self.situation}", "", self.table(), ""]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values for a JSON file."""
        rows = [
            {
                "work": row.work,
                "unit": row.unit,
                **row.values,
                "ratio": {side: row.ratio(side, self.peer) for side in row.values if side.startswith(OWN)},
            }
            for row in self.rows
        ]
        about = {"situation": self.situation, "peer": self.peer, "notes": self.notes}
        return {"part": self.part, **about, "rows": rows, **self.details}


def shown(value: float | None) -> str:
    """Formats a value with three significant digits or more; "" for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def machine(device: torch.device) -> str:
    """One line on the machine and the versions."""
    versions = {"segkit": segkit.__version__, "torch": torch.__version__}
    versions |= {name: importlib.metadata.version(name) for name in ("torchvision", "pycocotools")}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{device_name(device)}; {platform.machine()}; {listed}; python {platform.python_version()}"
