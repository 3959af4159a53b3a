"""The list of label errors as CSV and JSON."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from segkit.dataset_tools.label_errors.flagged import FlaggedImage, FlaggedImages
from segkit.diagnosis.label_errors import KINDS, LabelError
from segkit.evaluation.results import write_json
from segkit.utils.atomic import atomic_write

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a text that begins so


@dataclass(frozen=True)
class Row:
    """One error, as the files have it; positions are None if there is no object or detection."""

    rank: int
    kind: str
    score: float
    split: str
    image: str
    image_id: int
    object: int | None
    detection: int | None
    annotated_class: str
    detected_class: str
    detection_score: float | None
    x: float
    y: float
    width: float
    height: float
    crop: str
    reason: str


def row_of(flagged: FlaggedImages, image: FlaggedImage, rank: int, error: LabelError, split: str, crop: str) -> Row:
    """The row of one error."""
    x, y, width, height = (round(value, 2) for value in flagged.box(image, error))
    score = None if error.detection is None else round(float(image.found.scores[error.detection]), 4)
    return Row(
        rank,
        error.kind,
        round(error.score, 4),
        split,
        image.name,
        error.image_id,
        error.object,
        error.detection,
        flagged.annotated_class(image, error),
        flagged.detected_class(image, error),
        score,
        x,
        y,
        width,
        height,
        crop,
        error.reason,
    )


def write_csv(path: Path, rows: Sequence[Row]) -> Path:
    """Writes the list as CSV; texts that a spreadsheet would run begin with an apostrophe."""
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(Row.__dataclass_fields__)
        for row in rows:
            values = asdict(row).values()
            writer.writerow(
                "" if value is None else _safe(value) if isinstance(value, str) else value for value in values
            )
    return path


def write_list(path: Path, rows: Sequence[Row], models: Sequence[str], notes: Sequence[str], found: int) -> Path:
    """Writes the list as JSON, with the models, the notes and the meaning of the kinds."""
    content = {
        "models": list(models),
        "notes": list(notes),
        "kinds": KINDS,
        "found": found,
        "errors": [asdict(row) for row in rows],
    }
    return write_json(path, content)


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
