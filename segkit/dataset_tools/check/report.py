"""What a check found: every fault with its place, and a summary."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from segkit.dataset_tools.check.kinds import KINDS, SEVERITIES, Severity
from segkit.utils.atomic import atomic_write

VERSION = 1  # of the JSON file; counted up when a key changes its meaning


class Fault(NamedTuple):
    """One fault.

    Attributes:
        kind: a key of ``KINDS``.
        message: the fault in a sentence.
        split: the split that it was found in; empty if it concerns several.
        image: name of the image; empty if the fault is of no single image.
        object: id of the object in its annotation file, or its index in the image; None: of no single object.
        place: file, and entry in it, where known.
    """

    kind: str
    message: str
    split: str = ""
    image: str = ""
    object: int | None = None
    place: str = ""

    @property
    def severity(self) -> Severity:
        """Severity of the kind."""
        return KINDS[self.kind].severity

    def where(self) -> str:
        """Where the fault is, as short as possible."""
        image = f"{self.split}: {self.image}" if self.split not in ("", "all") and self.image else self.image
        parts = [image, "" if self.object is None else f"object {self.object}"]
        text = " ".join(part for part in parts if part)
        return text or self.place or self.split


@dataclass(frozen=True)
class SplitSummary:
    """Numbers of a split: images, objects, and objects of each class."""

    images: int
    objects: int
    classes: Mapping[str, int]


@dataclass
class Mending:
    """What ``--fix`` did.

    Attributes:
        output: folder of the mended copy.
        format: format of the copy.
        done: what was mended, with counts.
        remaining: kinds that were not mended, with counts.
        losses: what the format of the copy cannot hold, with counts.
        images, objects: numbers in the copy.
    """

    output: str
    format: str
    done: Counter[str] = field(default_factory=Counter)
    remaining: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    images: int = 0
    objects: int = 0


@dataclass
class Report:
    """The result of a check.

    Attributes:
        source: what was checked.
        format: name of the data's format.
        sentence: what the data are, in one sentence.
        reason: why the format was recognised; empty: it was given.
        splits: numbers of each split.
        faults: all faults.
        notes: what the readers remarked, by split.
        pixels: whether pixels were read.
        fix: what was mended; None: nothing was asked for.
    """

    source: str
    format: str
    sentence: str = ""
    reason: str = ""
    splits: dict[str, SplitSummary] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)
    pixels: bool = True
    fix: Mending | None = None

    def counts(self) -> dict[str, int]:
        """Number of faults of each kind that occurs, by severity and in the order of ``KINDS``."""
        counts = Counter(fault.kind for fault in self.faults)
        order = sorted(KINDS, key=lambda kind: SEVERITIES.index(KINDS[kind].severity))
        return {kind: counts[kind] for kind in order if counts[kind]}

    def severities(self) -> dict[str, int]:
        """Number of faults of each severity."""
        counts = Counter(fault.severity for fault in self.faults)
        return {severity: counts[severity] for severity in SEVERITIES}

    def of_kind(self, kind: str) -> list[Fault]:
        """The faults of a kind."""
        return [fault for fault in self.faults if fault.kind == kind]

    @property
    def ok(self) -> bool:
        """Whether no fault is an error."""
        return not any(fault.severity == "error" for fault in self.faults)

    def summary(self) -> dict[str, Any]:
        """All of the report but the single faults, as JSON holds it."""
        fix = None
        if self.fix is not None:
            fix = {**vars(self.fix), "done": dict(self.fix.done), "remaining": dict(self.fix.remaining)}
            fix["losses"] = dict(self.fix.losses)
        return {
            "version": VERSION,
            "source": self.source,
            "format": self.format,
            "sentence": self.sentence,
            "pixels": self.pixels,
            "splits": {name: {**vars(split), "classes": dict(split.classes)} for name, split in self.splits.items()},
            "counts": self.severities(),
            "kinds": {
                kind: {"severity": KINDS[kind].severity, "title": KINDS[kind].title, "count": count}
                for kind, count in self.counts().items()
            },
            "notes": self.notes,
            "fix": fix,
        }

    def write_json(self, path: str | Path) -> None:
        """Writes the summary and the list ``faults``, one fault a line."""
        head = json.dumps(self.summary(), indent=1)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            stream.write(head.removesuffix("\n}") + ',\n "faults": [')
            for number, line in enumerate(_lines(self.faults)):
                stream.write((",\n  " if number else "\n  ") + line)
            stream.write("\n ]\n}\n" if self.faults else "]\n}\n")


def _lines(faults: Iterable[Fault]) -> Iterable[str]:
    for fault in faults:
        entry = fault._asdict()
        yield json.dumps({"kind": entry.pop("kind"), "severity": fault.severity, **entry})
