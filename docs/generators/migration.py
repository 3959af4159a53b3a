"""Keys of other libraries beside segkit's, from the tables behind the suggestions in error messages."""

from __future__ import annotations

from collections.abc import Mapping

from generators.markdown import cell, code, table
from segkit.config.detectron2_names import DETECTRON2_NAMES
from segkit.config.foreign_names import MMDETECTION_NAMES, TORCHVISION_NAMES, VALUE_NOTES

TABLES: Mapping[str, Mapping[str, str]] = {
    "Detectron2": DETECTRON2_NAMES,
    "MMDetection": MMDETECTION_NAMES,
    "torchvision": TORCHVISION_NAMES,
}


def migration_table(library: str) -> str:
    """The keys of a library, the keys of segkit, and how values differ."""
    rows = []
    for old, new in TABLES[library].items():
        note = VALUE_NOTES.get(old, "")
        if new.startswith(";"):
            rows.append((code(old), "", cell(new.removeprefix(";").strip())))
        else:
            rows.append((code(old), code(new), cell(note)))
    return table((library, "segkit", "value"), rows)
