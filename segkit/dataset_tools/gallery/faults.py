"""Faults of ``segkit dataset check`` on the page, each with its image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segkit.utils.errors import SegkitError
from segkit.utils.paths import local_path

SEVERITIES = ("error", "warning")  # the worst first; all others come after these


@dataclass(frozen=True)
class Fault:
    """One entry of the JSON of ``segkit dataset check``."""

    severity: str
    message: str
    split: str | None
    image: str | None

    @property
    def level(self) -> str:
        """The severity if it has a colour of its own; else ``note``."""
        return self.severity if self.severity in SEVERITIES else "note"


@dataclass
class Entry:
    """One image of the data: its split, its index there, its name, its faults."""

    split: str
    index: int
    name: str
    faults: list[Fault] = field(default_factory=list)


def read_faults(path: str) -> list[Fault]:
    """The faults in the JSON of ``segkit dataset check``: a list, or the key ``faults``.

    Raises:
        SegkitError: it is another file.
    """
    file = local_path(path, "file of faults", kind="file")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SegkitError(f"--check: {file} is not JSON: {error}", value=path) from error
    listed = content.get("faults") if isinstance(content, dict) else content
    if not isinstance(listed, list) or not all(isinstance(item, dict) and "message" in item for item in listed):
        raise SegkitError(
            f"--check: {file} has no list of faults, each with a message; expected the file of segkit dataset check --json",
            value=path,
        )
    return [
        Fault(
            str(item.get("severity", "note")), str(item["message"]), _text(item.get("split")), _text(item.get("image"))
        )
        for item in listed
    ]


def assign_faults(entries: Sequence[Entry], faults: Sequence[Fault]) -> list[Fault]:
    """Adds each fault to its image's entry; returns those of no image here."""
    by_name: dict[str, list[Entry]] = {}
    for entry in entries:
        path = Path(entry.name)
        for name in {entry.name, path.name, path.stem, path.parent.name}:
            by_name.setdefault(name, []).append(entry)
    others: list[Fault] = []
    for fault in faults:
        name = (fault.image or "").replace("\\", "/")
        found = by_name.get(name) or _by_end(entries, name) or by_name.get(name.rpartition("/")[2], [])
        found = [entry for entry in found if fault.split in (None, entry.split)]
        if len(found) == 1:
            found[0].faults.append(fault)
        else:
            place = ", ".join(text for text in (fault.split, fault.image) if text)
            others.append(Fault(fault.severity, f"{place}: {fault.message}" if place else fault.message, None, None))
    return others


def _by_end(entries: Sequence[Entry], name: str) -> list[Entry]:
    """The entries whose name is the end of a longer path, or the other way round."""
    if not name:
        return []
    return [
        entry for entry in entries if f"/{name}".endswith(f"/{entry.name}") or f"/{entry.name}".endswith(f"/{name}")
    ]


def _text(value: Any) -> str | None:
    return str(value) if value else None
